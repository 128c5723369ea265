"""The verbs that a batch can do, each to one instance."""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db import transaction

from durable import conf
from durable.client import operate, repair
from durable.client.handle import Handle
from durable.client.purge import purge
from durable.client.rerun import rerun_from_activity
from durable.client.restart import restart
from durable.client.restore import restore
from durable.core import given
from durable.core.errors import ConcurrencyConflict, DurableError, InvalidInput, NotOpen
from durable.operations import arguments as kinds
from durable.operations import audit
from durable.operations import purge as purging
from durable.operations import recover as recovering
from durable.operations.recovered import Busy, Failed, RecoveryReport
from durable.operations.shapes import Args, Outcome, Preview
from durable.store import instances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OF_ONE = {"new_instance_id", "execution"}
"""Options that say something of one instance, and cannot of many."""

_OF_THE_BATCH = {"reason", "actor", "dry_run"}

_INPUT = {"args", "kwargs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgedTree:
    """What a purge deleted.

    Attributes:
        ids: The instance, and the children that went with it.
    """

    ids: list[str]


def purge_one(
    instance_id: str,
    *,
    keep_children: bool = False,
    force: bool = False,
    reason: str = "",
    actor: Any = None,
    dry_run: bool = False,
) -> PurgedTree | Preview:
    """Purge one instance, in the transaction at hand, and say which others went with it."""
    options: dict[str, Any] = {"keep_children": keep_children, "force": force}
    ids = [instance_id]
    with suppress(DurableError):  # the purge says so itself
        ids = purging.plan(instance_id, **options).ids
    done = purge(instance_id, reason=reason, actor=actor, dry_run=dry_run, **options)
    return done if isinstance(done, Preview) else PurgedTree(ids=ids)


def recover(instance_id: str, *, reason: str = "", actor: Any = None, dry_run: bool = False) -> RecoveryReport:
    """Recover one instance.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It is not running.
        ConcurrencyConflict: Somebody else was at it whenever it was looked at.
        Exception: Whatever kept it from being recovered.
    """
    with audit.audited("recover", instance_id, actor=actor, reason=reason, dry_run=dry_run):
        report = next(recovering.each([instance_id], dry_run=dry_run), None)
        if report is None:
            raise NotOpen(instance_id, status=instances.get(instance_id).status, verb="be recovered")
        if isinstance(report.outcome, Busy):
            raise ConcurrencyConflict(instance_id, expected=report.outcome.head)
        if isinstance(report.outcome, Failed) and not report.outcome.failure_recorded:
            raise report.outcome.error
        return report


@dataclass(frozen=True)
class Verb:
    """A verb.

    Attributes:
        call: The client's function; its first argument is the instance's id.
        permission: What a user must be permitted.
    """

    call: Callable[..., Any]
    permission: str

    @cached_property
    def takes(self) -> frozenset[str]:
        """The names of its options."""
        return frozenset(list(inspect.signature(self.call).parameters)[1:])


VERBS: dict[str, Verb] = {
    "cancel": Verb(operate.cancel, "durable.operate_instance"),
    "purge": Verb(purge_one, "durable.destroy_instance"),
    "recover": Verb(recover, "durable.repair_instance"),
    "rerun": Verb(rerun_from_activity, "durable.repair_instance"),
    "restart": Verb(restart, "durable.repair_instance"),
    "restore": Verb(restore, "durable.repair_instance"),
    "resume": Verb(operate.resume, "durable.operate_instance"),
    "rewind": Verb(repair.rewind, "durable.repair_instance"),
    "signal": Verb(operate.signal, "durable.operate_instance"),
    "suspend": Verb(operate.suspend, "durable.operate_instance"),
    "terminate": Verb(operate.terminate, "durable.destroy_instance"),
    "upgrade": Verb(repair.upgrade, "durable.repair_instance"),
}


_FUNCTIONS = {"rerun_from_activity": "rerun"}
"""Names of the client's functions that are not their verbs'."""


def permissions(name: str, arguments: dict[str, Any]) -> list[str]:
    """Return what a user needs for a verb with these arguments."""
    also = [VERBS["terminate"].permission] if arguments.get("terminate_first") else []
    return [VERBS[name].permission, *also]


def named(verb: str) -> str:
    """Return a verb by its own name; it may be given by the name of the client's function.

    Raises:
        InvalidInput: There is no such verb.
    """
    chosen = given.choice(verb, "batch(verb)", [*VERBS, *_FUNCTIONS])
    return _FUNCTIONS.get(chosen, chosen)


def encode(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a verb shall get for each instance, as plain JSON.

    Raises:
        InvalidInput: There is no such verb, or it does not take them.
    """
    verb = VERBS[named(name)]
    for unfit in sorted(arguments.keys() & _OF_ONE):
        raise InvalidInput(f"batch({unfit})", f"a batch has {name} done to its instances one by one, without this")
    taken = sorted(verb.takes - _OF_ONE - _OF_THE_BATCH)
    for unknown in sorted(arguments.keys() - verb.takes):
        raise InvalidInput(f"batch({unknown})", f"{name} does not take this; give {', '.join(taken) or 'nothing'}")
    try:
        inspect.signature(verb.call).bind("id", **arguments)
    except TypeError as error:
        raise InvalidInput(f"batch({name})", str(error)) from None
    kinds.check("batch({})", **arguments)
    return {key: _encoded(value, f"batch({key})") for key, value in arguments.items()}


def _encoded(value: Any, where: str) -> Any:
    if isinstance(value, Args):
        value = {"args": list(value.args), "kwargs": value.kwargs}
    return conf.converter().encode(value, where)


def do(name: str, instance_id: str, arguments: dict[str, Any], *, reason: str, actor: Any, dry_run: bool) -> Any:
    """Do a verb to an instance, or with ``dry_run`` only look, and return what it returned.

    Args:
        name: The verb.
        instance_id: The instance.
        arguments: What ``encode`` returned.
        reason: Why.
        actor: Who asked for it.
        dry_run: Whether to change nothing.

    Raises:
        DurableError: It is refused.
    """
    verb = VERBS[name]
    options = {key: _decoded(name, key, value) for key, value in arguments.items()}
    options |= {key: value for key, value in (("reason", reason), ("actor", actor)) if key in verb.takes}
    if not dry_run:
        return verb.call(instance_id, **options)
    if "dry_run" in verb.takes:
        return verb.call(instance_id, dry_run=True, **options)
    with transaction.atomic(using=conf.settings.DATABASE):
        verb.call(instance_id, **options)
        transaction.set_rollback(True, using=conf.settings.DATABASE)
    return None


def _decoded(name: str, key: str, value: Any) -> Any:
    if (name, key) == ("rerun", "input") and isinstance(value, dict) and value.keys() == _INPUT:
        return Args(*value["args"], **value["kwargs"])
    return value


def touched(result: Any) -> Iterator[str]:
    """Yield the ids of further instances to which a verb was done in the same go."""
    if isinstance(result, PurgedTree):
        yield from result.ids[1:]
    if isinstance(result, Outcome):
        for child in result.children:
            yield child.instance_id
            yield from touched(child)


def describe(result: Any) -> dict[str, Any] | None:
    """Return what a verb returned, or would do, as plain JSON that is short."""
    match result:
        case Handle():
            return {"new_instance_id": result.id}
        case Outcome():
            found: dict[str, Any] = {"execution_id": str(result.execution_id)}
            return found | ({"advice": result.advice} if result.advice else {})
        case RecoveryReport():
            return {"outcome": type(result.outcome).__name__}
        case Preview():
            steps = {name: len(getattr(result, name)) for name in ("kept", "rerun", "dropped", "rearmed")}
            children = [child.instance_id for child in result.children]
            told = {"signals_dropped": result.signals_dropped, "warnings": result.warnings}
            return {"version": result.version, **steps, **told, "children": children}
        case _:
            return None
