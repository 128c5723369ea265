"""Keeps workflow code from reaching outside: the ORM, caches, sockets, processes, threads, files.

The loop refuses what goes through asyncio. Here is what does not: databases and
caches, by stand-ins for their connections that only workflow code sees; the
standard library's own calls, by the interpreter's audit events; and what neither
can see, by wrappers that look whether a workflow is running.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
import zoneinfo
from typing import TYPE_CHECKING, Any, NoReturn

import celery
from asgiref.sync import AsyncToSync, SyncToAsync
from django.core.cache import caches
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from durable.core import context
from durable.core.strictness import is_workflow_code

if TYPE_CHECKING:
    from types import FrameType

_ACTIVITY = "Do it in an activity"
_AWAIT = "Await the coroutine itself"
_SLEEP = "Use await asyncio.sleep()"
_AUDITED = {
    "socket.__new__": ("socket.socket", _ACTIVITY),
    "socket.connect": ("socket.connect", _ACTIVITY),
    "socket.bind": ("socket.bind", _ACTIVITY),
    "socket.sendto": ("socket.sendto", _ACTIVITY),
    "socket.getaddrinfo": ("socket.getaddrinfo", _ACTIVITY),
    "sqlite3.connect": ("sqlite3.connect", _ACTIVITY),
    "subprocess.Popen": ("subprocess.Popen", _ACTIVITY),
    "os.system": ("os.system", _ACTIVITY),
    "os.posix_spawn": ("os.posix_spawn", _ACTIVITY),
    "os.exec": ("os.exec", _ACTIVITY),
    "os.fork": ("os.fork", _ACTIVITY),
    "time.sleep": ("time.sleep", _SLEEP),  # from Python 3.13 on
    "_thread.start_new_thread": ("threading.Thread.start", _ACTIVITY),
    "_thread.start_joinable_thread": ("threading.Thread.start", _ACTIVITY),
}
_FILES = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.rmdir", "os.remove", "os.rename"}
"""Refused only to workflow code itself: imports, time zones and translations are read from files, too."""
_OPENERS = {"pathlib", "io", "os", "codecs", "tempfile", "shutil", "gzip"}
"""Modules that open files for whoever calls them."""
_installed = False


class NoConnection:
    """Stands for a database connection in workflow code; any use of it is refused."""

    def __init__(self, alias: str) -> None:
        object.__setattr__(self, "_alias", alias)

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(f"the database ({object.__getattribute__(self, '_alias')}, connection.{name})", _ACTIVITY)


class NoCache:
    """Stands for a cache in workflow code; any use of it is refused.

    But for side effects: unlike connections, caches are kept by context there as well.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias

    @functools.cached_property
    def _real(self) -> Any:
        return caches.create_connection(self._alias)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within_reach(name), name)

    def __contains__(self, key: str) -> bool:
        return key in self._within_reach("has_key")

    def _within_reach(self, name: str) -> Any:
        if context.running() is not None:
            _refuse(f"the cache ({self._alias}, cache.{name})", _ACTIVITY)
        return self._real


def enter() -> None:
    """Prepare the context that a workflow's code runs in; called inside it."""
    install()
    # In a running loop, Django keeps both by context: nobody else sees these.
    for alias in connections:
        connections[alias] = NoConnection(alias)  # type: ignore[assignment]  # it refuses to be anything
    for alias in caches:
        caches[alias] = NoCache(alias)  # type: ignore[assignment]  # likewise


def install() -> None:
    """Listen to the interpreter's audit events and wrap what raises none, once a process; this cannot be undone."""
    global _installed  # noqa: PLW0603 - once a process
    if _installed:
        return
    _installed = True
    sys.addaudithook(_audit)
    _wrap(AsyncToSync, "__call__", "async_to_sync", _AWAIT)
    _wrap(SyncToAsync, "__call__", "sync_to_async", _ACTIVITY)
    _wrap(BaseDatabaseWrapper, "cursor", "the database (a connection from elsewhere)", _ACTIVITY)
    _wrap(
        celery.Task, "apply_async", "a Celery task's apply_async", "Call it as an activity: activity.from_celery(task)"
    )
    _wrap(celery.Celery, "send_task", "app.send_task", _ACTIVITY)
    if sys.version_info < (3, 13):  # these are audited from then on
        _wrap(time, "sleep", "time.sleep", _SLEEP)
    if sys.version_info < (3, 12):
        _wrap(threading.Thread, "start", "threading.Thread.start", _ACTIVITY)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _AUDITED:
        if context.running() is not None:
            _refuse(*_AUDITED[event])
    elif event in _FILES and (execution := context.running()) is not None:
        if str(args[0]).startswith(zoneinfo.TZPATH):
            return  # opened by a time zone that is written in C, and so has no frame of its own
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and _opens_for_others(frame):
            frame = frame.f_back
        if is_workflow_code(frame, execution.loop.package):
            _refuse(event, _ACTIVITY)


def _opens_for_others(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _OPENERS


def _wrap(owner: Any, name: str, call: str, instead: str) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if context.running() is not None:
            _refuse(call, instead)
        return original(*args, **kwargs)

    setattr(owner, name, watched)


def _refuse(call: str, instead: str) -> NoReturn:
    execution = context.running()
    assert execution is not None  # noqa: S101 - all guards look first
    raise execution.loop.forbid(call, instead=instead)
