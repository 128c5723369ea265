"""System checks, tag ``durable``: settings that make workflows slow, late or lost, and code that cannot be replayed."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from celery import current_app
from django.conf import settings as django_settings
from django.core import checks
from django.utils.module_loading import import_string

from durable import analyzer, conf, registry
from durable.interceptors import Interceptor
from durable.models import CLOSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django.apps import AppConfig

    from durable.core.definitions import ActivityDefinition, WorkflowDefinition
    from durable.core.payloads import Converter

TAG = "durable"
_MESSAGES = {
    analyzer.Severity.ERROR: checks.Warning,  # not Error, which would keep every command of the project from running
    analyzer.Severity.WARNING: checks.Warning,
    analyzer.Severity.HINT: checks.Info,
}
_KINDS: dict[str, type | tuple[type, ...]] = {
    "DATABASE": str,
    "QUEUE": str,
    "CACHE_SIZE": int,
    "STEP_TIMEOUT": (int, float),
    "MAX_FAILED_TURNS": int,
    "RUN_INLINE": bool,
    "LEASE": (int, float),
    "POLL": (int, float),
    "REDISPATCH": (int, float),
    "STALL_RETRY": (int, float),
    "RETENTION": dict,
    "ON_NONDETERMINISM": str,
    "UPDATE_OUTCOMES": (int, float),
    "VERSIONING": (dict, type(None)),
    "STRICT": bool,
    "CONVERTER": str,
    "CODEC": str,
    "INTERCEPTORS": (list, tuple),
    "LIMITS": dict,
}

_READ_COMMITTED = 2
"""As PostgreSQL's drivers count levels of isolation."""

_ISOLATED = re.compile(r"default_transaction_isolation\s*=\s*'?(repeatable|serializable)")

_ROUTING: dict[str, tuple[tuple[type, ...], str]] = {
    "EXCLUDE_TYPES": ((list, tuple, set, frozenset), "Give a list of type names, e.g. ['order', 'invoice2']."),
    "MAP_MULTI_APP_TYPES": ((dict,), "Give a dict of type names and app ids, e.g. {'invoice': 'billing'}."),
}


@checks.register(TAG)
def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Check the ``DURABLE`` setting."""
    given = getattr(django_settings, "DURABLE", {})
    if not isinstance(given, dict):
        return [checks.Error("DURABLE must be a dict.", id="durable.E001")]
    return [*_keys(given), *_values(given)]


def _keys(given: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    for name, value in given.items():
        if name not in _KINDS:
            hint = f"There are: {', '.join(sorted(_KINDS))}."
            yield checks.Warning(f"DURABLE[{name!r}] is not a setting.", hint=hint, id="durable.W001")
        elif not isinstance(value, _KINDS[name]):
            yield checks.Error(f"DURABLE[{name!r}] cannot be a {type(value).__name__}.", id="durable.E002")
        elif isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            yield checks.Error(f"DURABLE[{name!r}] must be more than 0.", id="durable.E003")


def _values(given: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    if given.get("DATABASE", "default") not in django_settings.DATABASES:
        yield checks.Error("DURABLE['DATABASE'] is no alias of DATABASES.", id="durable.E004")
    if given.get("ON_NONDETERMINISM", "stall") not in ("stall", "fail"):
        yield checks.Error("DURABLE['ON_NONDETERMINISM'] is 'stall' or 'fail'.", id="durable.E005")
    for path in ("CONVERTER", "CODEC"):
        try:
            conf.converter() if path == "CONVERTER" else conf.codec()
        except Exception as error:  # noqa: BLE001 - whatever a user's module raises is the finding
            yield checks.Error(f"DURABLE[{path!r}] cannot be used: {error}", id="durable.E006")
    yield from _interceptors(given.get("INTERCEPTORS", ()))
    yield from _versioning(given)
    yield from _retention(given.get("RETENTION", {}))
    limits = given.get("LIMITS", {})
    for name, value in limits.items() if isinstance(limits, dict) else ():
        if name not in conf.LIMITS:
            hint = f"There are: {', '.join(sorted(conf.LIMITS))}."
            yield checks.Warning(f"DURABLE['LIMITS'][{name!r}] is not a limit.", hint=hint, id="durable.W002")
        elif not isinstance(value, int) or value <= 0:
            yield checks.Error(f"DURABLE['LIMITS'][{name!r}] must be a whole number over 0.", id="durable.E007")


def _retention(given: Any) -> Iterator[checks.CheckMessage]:
    for status, age in given.items() if isinstance(given, dict) else ():
        is_number = isinstance(age, int | float) and not isinstance(age, bool)
        if status not in CLOSED or not is_number or age < 0:
            what = f"DURABLE['RETENTION'] cannot have {status!r}: {age!r}."
            hint = f"Map statuses of closed instances ({', '.join(CLOSED)}) to seconds."
            yield checks.Error(what, hint=hint, id="durable.E010")


def _interceptors(paths: Any) -> Iterator[checks.CheckMessage]:
    for path in paths if isinstance(paths, list | tuple) else ():
        try:
            kind = import_string(path)
            problem = "" if issubclass(kind, Interceptor) else "it is no subclass of durable.interceptors.Interceptor"
            if not problem:
                kind()
        except Exception as error:  # noqa: BLE001 - whatever a user's module raises is the finding
            problem = str(error)
        if problem:
            yield checks.Error(f"DURABLE['INTERCEPTORS']: {path!r} cannot be used: {problem}", id="durable.E008")


def _versioning(given: dict[str, Any]) -> Iterator[checks.CheckMessage]:
    versioning = given.get("VERSIONING")
    if not isinstance(versioning, dict):
        return
    for name in versioning.keys() - _ROUTING.keys():
        hint = f"There are: {', '.join(_ROUTING)}."
        yield checks.Error(f"DURABLE['VERSIONING'] has no key {name!r}.", hint=hint, id="durable.E009")
    for name, (kinds, hint) in _ROUTING.items():
        value = versioning.get(name, kinds[0]())
        if not isinstance(value, kinds) or not _are_names(value):
            yield checks.Error(f"DURABLE['VERSIONING'][{name!r}] cannot be {value!r}.", hint=hint, id="durable.E009")
            return
    excluded, apps = versioning.get("EXCLUDE_TYPES", ()), versioning.get("MAP_MULTI_APP_TYPES", {})
    yield from _routes(excluded, apps)
    if apps and given.get("QUEUE", conf.Settings.QUEUE) == conf.Settings.QUEUE:
        hint = "Set DURABLE['QUEUE'] to a name of this project's own in each project, e.g. 'durable.shop'."
        what = (
            "Other apps share this database, and any of them may announce work on the queue 'default' to its workers."
        )
        yield checks.Warning(what, hint=hint, id="durable.W010")


def _are_names(value: Any) -> bool:
    names = [*value, *value.values()] if isinstance(value, dict) else value
    return all(isinstance(name, str) and name for name in names)


def _routes(excluded: Iterable[str], apps: dict[str, str]) -> Iterator[checks.CheckMessage]:
    for named in sorted({*excluded} & apps.keys()):
        what = f"DURABLE['VERSIONING'] both excludes {named!r} and maps it to another app."
        yield checks.Error(what, hint="It is excluded. Remove one of the two.", id="durable.E009")
    for app_id in sorted({*apps.values()}):
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,90}", app_id):
            what = f"DURABLE['VERSIONING']['MAP_MULTI_APP_TYPES']: {app_id!r} cannot be the id of an app."
            hint = "It is part of a queue's name: 1 to 90 of A-Z, a-z, 0-9, dot, dash and underscore."
            yield checks.Error(what, hint=hint, id="durable.E009")
    known = {name for each in registry.workflows() for name in (each.name, each.type_name)}
    for named in sorted({*excluded} - known):
        near = [name for name in sorted(known) if name.lower() == named.lower()]
        near = near or get_close_matches(named, known)
        hint = f"Upper and lower case count. Did you mean {', '.join(near)}?" if near else "Remove it."
        what = f"DURABLE['VERSIONING']['EXCLUDE_TYPES']: there is no workflow {named!r}."
        yield checks.Warning(what, hint=hint, id="durable.W009")


@checks.register(TAG)
def check_database(**_: Any) -> list[checks.CheckMessage]:
    """Check the database that holds the workflows."""
    database = django_settings.DATABASES.get(conf.settings.DATABASE, {})
    options = database.get("OPTIONS", {})
    found: list[checks.CheckMessage] = []
    if not django_settings.USE_TZ:
        what = "USE_TZ is False: SQLite cannot store the times of workflows, and other databases return other ones."
        hint = "Set USE_TZ = True; Django's documentation on time zones says how a project that has data goes over."
        found.append(checks.Error(what, hint=hint, id="durable.E011"))
    engine = database.get("ENGINE", "")
    if engine.endswith("sqlite3") and options.get("transaction_mode") != "IMMEDIATE":
        found.append(
            checks.Warning(
                "SQLite is not set to begin transactions IMMEDIATE.",
                hint='With several workers, set OPTIONS["transaction_mode"] = "IMMEDIATE", or expect '
                '"database is locked": a transaction that turns from reading to writing cannot wait.',
                id="durable.W003",
            )
        )
    if not _is_read_committed(engine, options):
        found.append(
            checks.Warning(
                "The database is not set to read committed.",
                hint="Turns must see what others committed meanwhile; remove isolation_level from OPTIONS. "
                "What needs another level can set it for its own transactions.",
                id="durable.W004",
            )
        )
    return found


def _is_read_committed(engine: str, options: dict[str, Any]) -> bool:
    if engine.endswith("mysql"):
        return bool(options.get("isolation_level", "read committed") == "read committed")
    if not engine.endswith(("postgresql", "postgis")):
        return True
    by_option = _ISOLATED.search(options.get("options") or "")
    level = options.get("isolation_level")
    is_above = isinstance(level, int) and level > _READ_COMMITTED  # Django itself refuses what is no number
    return by_option is None and not is_above


@checks.register(TAG)
def check_celery(**_: Any) -> list[checks.CheckMessage]:
    """Check the Celery settings that matter."""
    settings = current_app.conf
    advice = "Call durable.worker.configure(app) after config_from_object."
    found: list[checks.CheckMessage] = []
    if not settings.get("db_reuse_max"):
        what = "Celery opens a new database connection for every task (CELERY_DB_REUSE_MAX is not set)."
        found.append(checks.Warning(what, hint=advice, id="durable.W005"))
    if settings.worker_prefetch_multiplier != 1:
        what = "Celery workers reserve messages that other workers could take (worker_prefetch_multiplier is not 1)."
        found.append(checks.Warning(what, hint=advice, id="durable.W006"))
    if not settings.worker_soft_shutdown_timeout:
        what = "A cold shutdown ends running activities at once (worker_soft_shutdown_timeout is 0)."
        found.append(checks.Warning(what, hint=advice, id="durable.W007"))
    transport = settings.broker_transport_options or {}
    if str(settings.broker_url or "").startswith(("redis", "sentinel")) and not transport.get("socket_timeout"):
        what = "A Redis that takes the connection and never answers holds whoever starts an instance for ever."
        hint = f'{advice[:-1]}, or set "socket_timeout" in broker_transport_options, in seconds.'
        found.append(checks.Warning(what, hint=hint, id="durable.W011"))
    timeout = transport.get("visibility_timeout")
    if timeout is not None and timeout < 60:
        what = f"The broker delivers messages again after {timeout} s (visibility_timeout)."
        hint = "Our tasks do not mind, but use at least 60 s for the sake of the others."
        found.append(checks.Warning(what, hint=hint, id="durable.W008"))
    return found


@checks.register(TAG)
def check_code(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Check the code of the workflows and what the activities declare; ``durable.W103`` is rule DUR003."""
    definitions: list[WorkflowDefinition | ActivityDefinition] = [*registry.workflows(), *registry.activities()]
    if app_configs is not None:
        apps = tuple(f"{config.name}." for config in app_configs)
        definitions = [each for each in definitions if f"{each.fn.__module__}.".startswith(apps)]
    return [
        _MESSAGES[finding.severity](
            f"{finding.rule}: {finding.message}.",
            hint=finding.hint,
            obj=f"{finding.file}:{finding.line}",
            id=analyzer.RULES[finding.rule].check_id,
        )
        for finding in analyzer.analyze_all(definitions, converter=_converter())
    ]


def _converter() -> Converter | None:
    try:
        return conf.converter()
    except Exception:  # noqa: BLE001 - durable.E006 tells
        return None
