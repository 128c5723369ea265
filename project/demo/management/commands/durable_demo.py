"""Shows what durable does, by doing it: ``manage.py durable_demo``."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from durable.models import Instance, Status
from project.demo import processes, seeding, tour
from project.demo.console import Narrator
from project.demo.workflows import RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterator

TAIL = 25
SEEDED = 200
"""How many instances are added to what the tour leaves, for the admin to show every status."""

SITE_LOG = settings.VAR_DIR / "site.log"


class Command(BaseCommand):
    """Run the tour, and keep a site and a worker running if asked to."""

    help = (
        "Audit this Python environment and run a shop, durably: kill the workers in the middle, and check that "
        "nothing was lost or done twice. Then repair what failed. Takes about a minute."
    )
    requires_migrations_checks = False
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument(
            "--serve",
            action="store_true",
            help="then leave a worker and the admin running; skips the tour if its results are still there",
        )
        parser.add_argument("--fresh", action="store_true", help="with --serve: begin with the tour in any case")
        parser.add_argument("--port", type=int, default=8000, help="with --serve: the port of the admin (8000)")

    def handle(self, *, serve: bool, fresh: bool, port: int, **options: Any) -> None:
        """Run the command."""
        _require_own_database()
        narrator = Narrator()
        signal.signal(signal.SIGTERM, _end)
        begun = time.monotonic()
        with _alone(), processes.killed_at_the_end() as running:
            try:
                if fresh or not (serve and _results_are_there()):
                    tour.Tour(narrator, running).run()
                    narrator.fact(f"done in {time.monotonic() - begun:.0f} s")
                if serve:
                    _serve(narrator, running, port)
                else:
                    narrator.note("\n  Look around in the admin:  make serve")
            except KeyboardInterrupt:
                narrator.note("\n  ended")
                raise SystemExit(0 if serve else 130) from None
            except tour.DemoFailed as error:
                self.stderr.write(_tail())
                raise CommandError(f"The demo failed: {error}") from None


def _serve(narrator: Narrator, running: list[processes.Process], port: int) -> None:
    for process in running:
        process.stop()
    password = secrets.token_urlsafe(12)
    _make_superuser(password)
    _seed(narrator)
    address = f"127.0.0.1:{_free_port(port)}"
    latest = {RELEASE: "2"}  # the tour ended with it
    worker = processes.worker(environment={**tour.ENVIRONMENT, **latest}, log=tour.WORKER_LOG)
    site = processes.site(address, environment=latest, log=SITE_LOG)
    running += [worker, site]
    narrator.chapter("The admin is open", "Ctrl-C ends it and the worker.")
    narrator.note(f"http://{address}/admin/\n  user     admin\n  password {password}\n")
    narrator.note("Try, in another terminal:")
    commands = ("durable_list --limit 5", "durable_show order-1", "durable_start audit_environment --wait")
    narrator.note("\n  ".join(f"{_short(sys.executable)} manage.py {command}" for command in commands))
    narrator.note(f'curl -u admin:{password} "http://{address}/api/v1/instances/?limit=1"\n')
    while worker.running and site.running:
        time.sleep(0.5)
    raise tour.DemoFailed(f"the {'site' if worker.running else 'worker'} ended by itself")


def _short(executable: str) -> str:
    """Return how to call a program from the checkout, if it is in there."""
    path = Path(executable)
    return str(path.relative_to(settings.BASE_DIR)) if path.is_relative_to(settings.BASE_DIR) else executable


def _seed(narrator: Narrator) -> None:
    """Add instances of what the tour does not leave behind: what is open, has failed or is stalled."""
    if not Instance.objects.filter(pk__startswith="newsletter-").exists():
        seeded = seeding.seed(SEEDED)
        narrator.fact(f"{seeded.instances} instances added that only look as if they had run (durable_seed)")


def _make_superuser(password: str) -> None:
    users = get_user_model()._default_manager
    user, _ = users.update_or_create(username="admin", defaults={"is_staff": True, "is_superuser": True})
    user.set_password(password)
    user.save()


def _free_port(wanted: int) -> int:
    """Return the wanted port, or any other if that is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise CommandError("no port is free")


def _require_own_database() -> None:
    """Refuse to begin with anybody else's database: the demo deletes what is there."""
    name = str(settings.DATABASES["default"]["NAME"])
    if name != str(tour.DATABASE):
        raise CommandError(f"The demo makes a database of its own, {tour.DATABASE}; unset DATABASE_URL", returncode=2)
    if not settings.CELERY_BROKER_URL.startswith("memory:"):
        raise CommandError("The demo's worker has its broker in memory; unset BROKER_URL", returncode=2)


def _results_are_there() -> bool:
    try:
        return Instance.objects.filter(pk="audit", status=Status.COMPLETED).exists()
    except DatabaseError:
        return False


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Make sure that no other demo runs here, for it would lose its database.

    Raises:
        CommandError: One does.
    """
    with (settings.VAR_DIR / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("The demo is running here already (make serve?)", returncode=2) from None
        yield


def _tail() -> str:
    """Return the last lines that the worker logged."""
    if not tour.WORKER_LOG.exists():
        return ""
    lines = tour.WORKER_LOG.read_text(errors="replace").splitlines()[-TAIL:]
    return "\n".join(["", f"--- the end of {tour.WORKER_LOG}", *lines, "---"])


def _end(*_: object) -> NoReturn:
    """Make an ordinary end of SIGTERM, so that processes are ended too."""
    raise SystemExit(143)
