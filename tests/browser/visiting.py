"""A person before a browser, and the workers behind the site."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from django.conf import settings
from django.contrib.admin.utils import quote
from django.db import connections
from django.test import Client
from playwright.sync_api import Page, expect

from durable.engine import cache, presence, running
from durable.store import clock, workers
from durable.testing import draining, run_worker

SCREENSHOTS = settings.VAR_DIR / "screenshots"
IMAGES = settings.BASE_DIR / "docs" / "images"
GRAVE = ("serious", "critical")
CHECKED = "{exclude: ['#searchbar']}"
"""All but the search box of Django's own lists, whose label is a picture."""
PATIENCE = 30_000
SOON = timedelta(seconds=3)

expect.set_options(timeout=PATIENCE)


class Crew:
    """Workers, in a thread of their own: an event loop runs in the test's, the one of the browser's driver."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "crew")

    def do(self, call: Callable[[], Any]) -> Any:
        """Call something where the workers are."""
        return self._pool.submit(call).result(timeout=60)

    def work(self) -> None:
        """Do whatever is due, and what will be soon."""
        self.do(_work)

    def leave(self) -> None:
        """Leave nothing behind in memory."""
        self.do(_leave)
        self._pool.shutdown()


def _work() -> None:
    while True:
        run_worker()
        due = draining.next_due()
        if due is None or due - clock.now() > SOON:
            break
        time.sleep(max(0.0, (due - clock.now()).total_seconds()))
    workers.sweep(["default"])


def _leave() -> None:
    presence.stop()
    cache.clear()
    running.close_connections()
    clock.forget()
    connections.close_all()


class Visit:
    """Somebody's visit to the admin; what their browser complained about is kept.

    Attributes:
        page: The browser's page.
        complaints: What was on the console that nobody wants to see there, and what failed to load.
    """

    def __init__(self, page: Page, site: str) -> None:
        self.page, self._site = page, site
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("response", self._answered)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")

    def sign_in(self, user: Any) -> Visit:
        """Be signed in already, as from another day."""
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        self.page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": self._site}])
        return self

    def go(self, path: str) -> Visit:
        """Open a page of the admin."""
        answer = self.page.goto(f"{self._site}/admin/{path}")
        assert answer is not None
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        return self

    def instance(self, instance_id: str, rest: str = "change/") -> Visit:
        """Open a page of an instance."""
        return self.go(f"durable/instance/{quote(instance_id)}/{rest}")

    def click(self, role: Any, name: str) -> None:
        """Click the one thing of a role and a name."""
        self.page.get_by_role(role, name=name, exact=True).click()

    def tab_to(self, name: str) -> None:
        """Press the tabulator until something of this name has the focus."""
        for _ in range(200):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("document.activeElement.innerText || ''").strip() == name:
                return
        raise AssertionError(f"the tabulator does not lead to {name!r}")

    def shoot(self, name: str, *, whole: bool = True) -> Path:
        """Take a picture for whoever wants to look."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = Path(SCREENSHOTS / f"{name}.png")
        self.page.screenshot(path=path, full_page=whole, animations="disabled")
        return path

    def publish(self, name: str) -> None:
        """Take a picture; the documentation's is replaced if ``DOCS_IMAGES`` is 1."""
        picture = self.shoot(name, whole=False).read_bytes()
        assert len(picture) < 200_000
        if os.environ.get("DOCS_IMAGES") == "1":
            (IMAGES / f"{name}.png").write_bytes(picture)

    def barriers(self) -> list[str]:
        """Return what keeps some people from using the page."""
        before = len(self.complaints)
        self.page.evaluate(AXE_SCRIPT)
        found = self.page.evaluate(f"axe.run({CHECKED}, {{resultTypes: ['violations']}})")["violations"]
        del self.complaints[before:]  # the checker tries inline styles, which the policy forbids
        return [
            f"{each['id']} ({each['impact']}): {each['help']}: {node['target']} {node['html'][:200]}"
            for each in found
            if each["impact"] in GRAVE
            for node in each["nodes"]
        ]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
