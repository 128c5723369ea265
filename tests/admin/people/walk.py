"""Walks through the pages of the site as one of the users, and prints where links and verbs led."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402

from durable import client as durable  # noqa: E402
from durable import workflow  # noqa: E402
from durable.models import Operation, SavedFilter  # noqa: E402
from tests.admin.people.models import Person  # noqa: E402


class Links(HTMLParser):
    """The links of a page, and what its form holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.fields: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.found += [given[name] for name in ("href", "action") if (given.get(name) or "").startswith("/")]
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given.get("value", "")


@workflow.defn
async def wait() -> None:
    await workflow.wait_signal("go")


call_command("migrate", run_syncdb=True, verbosity=0)
user = Person.objects.create(email="ada@example.com", is_superuser=True)
browser = Client()
browser.force_login(user)
durable.start("wait", id="it")

seen: dict[str, int] = {}
waiting = ["/ops/durable/instance/", "/ops/durable/instance/it/change/"]
while waiting:
    where = waiting.pop()
    if where in seen or "/static/" in where or "logout" in where:
        continue
    response = browser.get(where)
    seen[where] = response.status_code
    if response.status_code == 200 and "html" in response["Content-Type"]:
        waiting += [link.partition("#")[0] for link in Links(response.content.decode()).found]
form = Links(browser.get("/ops/durable/instance/it/do/terminate/").content.decode()).fields
done = browser.post("/ops/durable/instance/it/do/terminate/", {**form, "confirm": "1"})
row = Operation.objects.get(verb="terminate", dry_run=False)
start = Links(browser.get("/ops/durable/instance/definitions/wait/start/").content.decode()).fields
begun = browser.post("/ops/durable/instance/definitions/wait/start/", {**start, "id": "other", "confirm": "1"})
begun = (
    begun
    if begun.status_code == 302
    else browser.post(
        "/ops/durable/instance/definitions/wait/start/",
        {**Links(begun.content.decode()).fields, "id": "other", "confirm": "1"},
    )
)
saved = browser.post("/ops/durable/instance/filters/", {"query": "?status=open", "name": "open", "is_shared": "1"})
owner = SavedFilter.objects.get(name="open").owner_key
led = [begun["Location"], saved["Location"]]
told = {
    "seen": seen,
    "also": led,
    "owns": owner == str(user.pk),
    "led": done["Location"],
    "status": durable.status("it"),
    "actor": row.actor == user,
}
json.dump(told, sys.stdout)
