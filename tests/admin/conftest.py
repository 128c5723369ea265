"""The admin as a user sees it, and a check that every page can be served under a strict policy."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.test import Client

from tests.api.conftest import EVERY, bank, failed, flow, someone, talk, waiting

__all__ = ["EVERY", "Page", "Site", "bank", "failed", "flow", "site", "someone", "staff", "talk", "waiting"]


class Page(HTMLParser):
    """A page: its forms, links and text; and what a strict policy would not let through."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.response, self.status = response, response.status_code
        self.text = response.getvalue().decode()
        self.inline: list[str] = []
        self.links: list[str] = []
        self.fields: dict[str, Any] = {}
        self.ids: list[str] = []
        self._textarea = ""
        self._select = ""
        if "html" in response.headers.get("Content-Type", ""):
            self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given) or "style" in given:
            self.inline.append(f"<{tag} {given}>")
        self.inline += [f"<{tag} {name}>" for name in given if name.startswith("on")]
        for name in ("href", "src", "action"):
            if (given.get(name) or "").startswith(("http:", "https:", "//", "javascript:", "data:")):
                self.inline.append(f"<{tag} {name}={given[name]}>")
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if "id" in given:
            self.ids.append(given["id"])
        self._field(tag, given)

    def _field(self, tag: str, given: dict[str, Any]) -> None:
        name = given.get("name")
        match tag:
            case "input" if name and given.get("type") not in ("checkbox", "submit"):
                self.fields[name] = given.get("value", "")
            case "input" if name and "checked" in given:
                self.fields[name] = given.get("value", "on")
            case "textarea":
                self._textarea = name
                self.fields[name] = ""
            case "select":
                self._select = name
            case "option" if self._select and ("selected" in given or self._select not in self.fields):
                self.fields[self._select] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""
            return
        if tag == "select":
            self._select = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.fields[self._textarea] += data.removeprefix("\n")

    def form(self, **changed: Any) -> dict[str, Any]:
        """Return what the page's form would send, with these changes."""
        dropped = {"q", "id"}
        fields = {name: value for name, value in self.fields.items() if name not in dropped}
        return {**fields, **changed}


class Site:
    """The admin as somebody sees it; no page may need what a strict policy forbids."""

    def __init__(self, user: Any = None) -> None:
        self.user, self.client = user, Client()
        if user is not None:
            self.client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")

    def get(self, path: str = "", follow: bool = False, **query: Any) -> Page:
        return self._page(self.client.get(self.address(path), query, follow=follow))

    def post(self, path: str, data: dict[str, Any], follow: bool = False) -> Page:
        return self._page(self.client.post(self.address(path), data, follow=follow))

    def page(self, instance_id: str, rest: str = "change/", **query: Any) -> Page:
        return self.get(f"{quote(instance_id)}/{rest}", **query)

    def do(self, instance_id: str, verb: str, **changed: Any) -> Page:
        """Open a verb's form, fill it in, look at the preview if something was changed, and confirm."""
        query = changed.pop("query", {})
        form = self.page(instance_id, f"do/{verb}/", **query)
        assert form.status == 200, form.text
        path = f"{quote(instance_id)}/do/{verb}/"
        if changed:
            form = self.post(path, form.form(**changed, preview="1"))
            form.fields.pop("preview", None)
        return self.post(path, form.form(confirm="1"))

    @staticmethod
    def address(path: str) -> str:
        return path if path.startswith("/") else f"/admin/durable/instance/{path}"

    @staticmethod
    def _page(response: Any) -> Page:
        page = Page(response)
        assert page.inline == []
        assert len(page.ids) == len(set(page.ids)), f"ids are used twice: {page.ids}"
        return page


@pytest.fixture
def staff(someone):
    """Make a user who may enter the admin."""

    def make(*permissions: str, name: str = "ada") -> Any:
        user = someone(*permissions, name=name)
        user.is_staff = True
        user.save()
        return user

    return make


@pytest.fixture
def site(staff):
    """The admin as somebody who may do everything."""
    return Site(staff(*EVERY))
