"""The settings: one dict, ``DURABLE``."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from durable.codecs import Codec
    from durable.core.payloads import Converter

LIMITS = {
    "payload": 2_000_000,
    "history_warn": 10_000,
    "history": 50_000,
    "inbox": 10_000,
    "fan_out": 10_000,
    "tags": 100,
    "batch": 1_000_000,
    "stream": 300,
}


class Settings:
    """What ``DURABLE`` may hold, with the defaults; all durations in seconds.

    Attributes:
        DATABASE: Alias of the database that holds everything.
        QUEUE: The queue of workflows that name none; ``default`` is Celery's own default queue.
        CACHE_SIZE: How many live executions a process keeps.
        STEP_TIMEOUT: How long workflow code may run without waiting for anything.
        MAX_FAILED_TURNS: After how many turns that raise an instance is parked.
        RUN_INLINE: Whether the worker that ends a turn may run the next activity there and then.
        LEASE: How long work belongs to a worker that shows no sign of life.
        POLL: How often an idle worker looks for due work.
        REDISPATCH: After how long work that nobody took is announced again.
        STALL_RETRY: How often a stalled instance is tried again.
        UPDATE_OUTCOMES: How long the outcome of an update is kept at least, once it was rejected or its execution
            has ended.
        RETENTION: How long closed instances are kept, by status; those of other statuses for ever.
        ON_NONDETERMINISM: ``stall`` or ``fail``.
        VERSIONING: How versions of workflows are chosen, see ``durable.engine.routing``; None is as they are named.
        STRICT: Whether to catch what is not deterministic as early as can be; for development and tests.
        CONVERTER: Dotted path of the payload converter.
        CODEC: Dotted path of the codec that stored JSON passes through.
        INTERCEPTORS: Dotted paths of subclasses of ``durable.interceptors.Interceptor``, outermost first.
        LIMITS: Overrides for single limits, see ``conf.LIMITS``.
    """

    DATABASE: str = "default"
    QUEUE: str = "default"
    CACHE_SIZE: int = 1000
    STEP_TIMEOUT: float = 2.0
    MAX_FAILED_TURNS: int = 5
    RUN_INLINE: bool = True
    LEASE: float = 30.0
    POLL: float = 1.0
    REDISPATCH: float = 5.0
    STALL_RETRY: float = 30.0
    UPDATE_OUTCOMES: float = 86_400.0
    RETENTION: dict[str, float] = {}
    ON_NONDETERMINISM: str = "stall"
    VERSIONING: dict[str, Any] | None = None
    STRICT: bool = False
    CONVERTER: str = "durable.converters.DjangoConverter"
    CODEC: str = "durable.codecs.PlainCodec"
    INTERCEPTORS: list[str] = []
    LIMITS: dict[str, int] = {}

    def __getattribute__(self, name: str) -> Any:
        given = _given if _given is not None else _read()
        return given[name] if name in given else object.__getattribute__(self, name)


_given: dict[str, Any] | None = None
"""The dict, once it was asked for: each step reads a dozen settings."""


def _read() -> dict[str, Any]:
    global _given  # noqa: PLW0603 - one dict, one state
    _given = getattr(django_settings, "DURABLE", {})
    return _given


def _forget(*, setting: str, **_: Any) -> None:
    global _given  # noqa: PLW0603 - as above
    if setting == "DURABLE":
        _given = None


setting_changed.connect(_forget)

settings = Settings()


def limit(name: str) -> int:
    """Return the limit of this name."""
    return settings.LIMITS.get(name, LIMITS[name])


def converter(*, load: bool = False) -> Converter:
    """Return the payload converter.

    Args:
        load: Whether references to model instances become the instances
            themselves: in activities and clients, never in workflow code.
    """
    return _converter(settings.CONVERTER, load)


@lru_cache
def _converter(path: str, load: bool) -> Converter:
    made: Converter = import_string(path)(load=load)
    return made


def codec() -> Codec:
    """Return the codec that stored JSON passes through."""
    return _codec(settings.CODEC)


@lru_cache
def _codec(path: str) -> Codec:
    made: Codec = import_string(path)()
    return made
