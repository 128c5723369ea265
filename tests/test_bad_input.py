"""Whatever is given to the client, it is either done or refused with an error of ours, and then nothing is changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.db import transaction

from durable import RetryPolicy, activity, client, workflow
from durable.client import batching
from durable.core.errors import DurableError, InvalidInput
from durable.models import Operation
from durable.store import filters
from tests import driving
from tests.test_docs import raised


def nested(depth: int) -> Any:
    """Return a list in a list, so deeply."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


ODD: dict[str, Any] = {
    "None": None,
    "empty": "",
    "blank": " ",
    "5": 5,
    "-1": -1,
    "1.5": 1.5,
    "huge": 10**30,
    "large": 2**31,
    "nan": float("nan"),
    "inf": float("inf"),
    "True": True,
    "list": [],
    "list of int": [5],
    "list of None": [None],
    "nested": [[5]],
    "deep": nested(200),
    "deeper": nested(920),  # Python manages this much here, and may not elsewhere
    "dict": {},
    "dict of int": {5: 5},
    "dict of NUL": {"a\0b": "\0"},
    "set": {1},
    "object": object(),
    "class": int,
    "bytes": b"a",
    "long": "x" * 10_000,
    "NUL": "a\0b",
    "half": "a\ud800b",
    "unicode": "é漢🙂",
    "naive": datetime(2026, 1, 1),  # noqa: DTZ001 - that is what is wrong with it
    "number": "5",
}

VALID: dict[str, dict[str, Any]] = {
    "aquery": {"instance_id": "done", "name": "state"},
    "astart": {"workflow": "flow", "args": (1,)},
    "aupdate": {"instance_id": "open", "name": "change", "timeout": 0},
    "batch": {"verb": "rewind", "of": ["failed"]},
    "batch_report": {"batch_id": "batch"},
    "batch_retry": {"batch_id": "batch"},
    "cancel": {"instance_id": "open"},
    "compare": {"a": "done", "b": "failed"},
    "complete_activity": {"token": "..."},
    "explain": {"instance_id": "done"},
    "fail_activity": {"token": "...", "error": "down"},
    "failure_groups": {},
    "get": {"instance_id": "done"},
    "history": {"instance_id": "done"},
    "instance": {"instance_id": "done"},
    "lineage": {"instance_id": "done"},
    "purge": {"instance_id": "done"},
    "query": {"instance_id": "done", "name": "state"},
    "recover": {},
    "rerun_from_activity": {"instance_id": "done", "event_id": 0},
    "restart": {"instance_id": "done"},
    "restore": {"instance_id": "failed", "execution": "..."},
    "result": {"instance_id": "done"},
    "resume": {"instance_id": "halted"},
    "rewind": {"instance_id": "failed"},
    "signal": {"instance_id": "open", "name": "go"},
    "start": {"workflow": "flow", "args": (1,)},
    "status": {"instance_id": "done"},
    "suspend": {"instance_id": "open"},
    "terminate": {"instance_id": "open"},
    "update": {"instance_id": "open", "name": "change", "timeout": 0},
    "upgrade": {"instance_id": "done"},
    "versions": {},
    "what_if": {"instance_id": "done", "event_id": 0},
    "why": {"instance_id": "open"},
}
"""A call of each function that is right; one argument at a time is then given something else."""

OPTIONS = {
    "start": ("id", "queue", "tags", "headers", "delay", "timeout", "id_reuse", "retry", "signal"),
    "astart": ("id", "signal"),
    "query": ("args", "kwargs"),
    "aquery": (),
    "update": ("args",),
    "aupdate": (),
    "batch": ("to", "execution", "version"),
}
"""What can be given where a function takes whatever comes."""


def rows() -> dict[str, list[Any]]:
    """Return all that is stored, but for the audit."""
    models = (model for model in apps.get_app_config("durable").get_models() if model is not Operation)
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}


def parameters(function: Callable[..., Any], name: str) -> list[str]:
    """Return what a function can be given, by name."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = [p.name for p in inspect.signature(function).parameters.values() if p.kind not in variadic]
    return [each for each in found if each != "self"] + list(OPTIONS.get(name, ()))


@pytest.fixture
def valid(engine):
    """Instances in several states, and calls of each function that would be carried out."""
    tokens: list[str] = []
    driving.register_all(batching)

    @activity.defn(retry=RetryPolicy(max_attempts=1))
    def act(number: int) -> int:
        if number == 13:
            raise ValueError("unlucky")
        return number

    @activity.defn
    def later() -> None:
        tokens.append(activity.complete_later())

    @workflow.defn
    async def flow(number: int) -> int:

        def state(*_: Any) -> int:
            return number

        workflow.query(state)
        return await act(number)

    @workflow.defn
    async def waiting() -> None:

        def change(*_: Any) -> None: ...

        workflow.update(change)
        await workflow.wait_signal("go")

    @workflow.defn
    async def outside() -> None:
        await later()

    flow.options(id="done").start(1)
    flow.options(id="failed").start(13)
    waiting.options(id="open").start()
    waiting.options(id="halted").start()
    outside.options(id="outside").start()
    client.batch("cancel", ["done"], id="batch")
    engine.run_until_quiet()
    first = client.get("failed").instance.execution_id
    client.rewind("failed")
    client.suspend("halted")
    engine.run_until_quiet()
    assert [client.status(each) for each in ("done", "failed", "open", "halted", "batch")] == [
        *("completed", "failed", "running", "suspended", "completed")
    ]
    known = {"execution": first}, {"token": tokens[0]}
    return {
        name: {
            key: next((k[key] for k in known if key in k), value) if value == "..." else value
            for key, value in given.items()
        }
        for name, given in VALID.items()
    }


class Undo(Exception):
    """Takes back what a call did."""


ANY = frozenset({"DurableError"})


@pytest.fixture
def trouble(valid):
    """Call and undo; return what is wrong with what came of it."""
    before = rows()

    def trouble(call: Callable[[], Any], may_raise: frozenset[str] = ANY) -> str:
        with driving.cost() as asked:
            told = _told(call, may_raise)
        if told.startswith("refused") and any(not each.startswith("SELECT") for each in asked.statements):
            return "" if rows() == before else f"changed something, though {told}"
        return "" if told.startswith(("done", "refused")) else told

    return trouble


def _told(call: Callable[[], Any], may_raise: frozenset[str]) -> str:
    try:
        with transaction.atomic():
            call()
            raise Undo
    except Undo:
        return "done"
    except DurableError as error:
        told = f"refused with {type(error).__name__}: {error}"
        if len(told) > 1000:
            return f"says too much: {told[:60]}... ({len(told):,} characters)"
        told.encode()
        if not may_raise & {kind.__name__ for kind in type(error).__mro__}:
            return f"{type(error).__name__} is not among what it says it raises"
        return told
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"


def called(function: Callable[..., Any], given: dict[str, Any]) -> Any:
    """Call a function with arguments by name, those that are positional only by place."""
    given = dict(given)
    args = given.pop("args", ()) if "args" not in inspect.signature(function).parameters or _takes_any(function) else ()
    args = args if isinstance(args, (list, tuple)) else (args,) if args else ()
    by_place = {p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_ONLY}
    args = [*(given.pop(name) for name in [*given] if name in by_place), *args]
    if inspect.iscoroutinefunction(function):
        return async_to_sync(function)(*args, **given)
    done = function(*args, **given)
    return list(done) if inspect.isgenerator(done) else done


def _takes_any(function: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(function).parameters.values())


FUNCTIONS = [
    name
    for name in client.__all__
    if inspect.isroutine(getattr(client, name)) and name not in ("start_definition",)  # how definitions start
]


def test_every_function_is_tried():
    assert sorted(FUNCTIONS) == sorted(VALID)


def _count(chosen: dict[str, Any]) -> int:
    return filters.find(chosen).count()


def test_any_filter_is_taken_or_refused(trouble):
    found = []
    for field in (*filters.FIELDS, "tags", "stall_reason", "nothing", ""):
        for lookup in ("", *(f"__{each}" for each in filters.LOOKUPS), "__regex"):
            for kind, value in ODD.items():
                chosen = {f"{field}{lookup}": value}
                if wrong := trouble(partial(_count, chosen)):
                    found.append(f"{field}{lookup}={kind}: {wrong}")

    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_value_is_taken_or_refused(valid, trouble, name):
    function, found = getattr(client, name), list[str]()
    may_raise = frozenset(raised(function))
    assert not trouble(lambda: called(function, valid[name]))

    for parameter in parameters(function, name):
        for kind, value in ODD.items():
            if wrong := trouble(partial(called, function, {**valid[name], parameter: value}), may_raise):
                found.append(f"{parameter}={kind}: {wrong}")

    assert not found, "\n" + "\n".join(found)


anything: Any = client  # which is not for type checkers to refuse

REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "upgrade(to=[1])": (lambda: anything.upgrade("done", to=[1]), "to", "give a whole number"),
    "rewind(to='1')": (lambda: anything.rewind("failed", to="1"), "to", "give a whole number"),
    "rerun(version=[1])": (
        lambda: anything.rerun_from_activity("done", 0, version=[1]),
        "version",
        "give a whole number",
    ),
    "restart(version='1')": (lambda: anything.restart("done", version="1"), "version", "give a whole number"),
    "restart(terminate_first=1)": (lambda: anything.restart("open", terminate_first=1), "terminate_first", "give True"),
    "suspend(children='no')": (lambda: anything.suspend("open", children="no"), "children", "give True or False"),
    "cancel(dry_run='no')": (lambda: anything.cancel("open", dry_run="no"), "dry_run", "give True or False"),
    "cancel(actor=5)": (lambda: anything.cancel("open", actor=5), "actor", "give a user, a name, or None"),
    "cancel(actor=NUL)": (lambda: anything.cancel("open", actor="a\0"), "actor", "cannot be printed"),
    "cancel(reason=NUL)": (lambda: anything.cancel("open", reason="a\0"), "reason", "NUL characters cannot be stored"),
    "purge([5])": (lambda: anything.purge([5]), "purge(instance_id)", "give ids, which are text"),
    "purge(5)": (lambda: anything.purge(5), "purge(instance_id)", "give an id, or several"),
    "purge(a filter)": (lambda: anything.purge({"status": "failed"}), "purge(instance_id)", "give an id, or several"),
    "purge(batch_size='x')": (
        lambda: anything.purge(status="failed", batch_size="x"),
        "purge(batch_size)",
        "give a whole number from 1",
    ),
    "purge(workflow=NUL)": (lambda: anything.purge(workflow="a\0"), "purge(workflow)", "cannot be printed"),
    "recover(limit=-1)": (lambda: anything.recover(limit=-1), "recover(limit)", "give a whole number from 0"),
    "recover(limit='x')": (lambda: anything.recover(limit="x"), "recover(limit)", "give a whole number from 0"),
    "failure_groups(limit=-1)": (lambda: anything.failure_groups(limit=-1), "failure_groups(limit)", "from 0"),
    "failure_groups(since=naive)": (
        lambda: anything.failure_groups(since=ODD["naive"]),
        "failure_groups(since)",
        "give a datetime with one",
    ),
    "explain(at='x')": (lambda: anything.explain("done", at="x"), "at", "give a whole number"),
    "batch(concurrency='x')": (
        lambda: anything.batch("rewind", ["failed"], concurrency="x"),
        "batch(concurrency)",
        "give a whole number from 1 to 100",
    ),
    "batch(to=[1])": (lambda: anything.batch("rewind", ["failed"], to=[1]), "batch(to)", "give a whole number"),
    "batch(filter)": (lambda: anything.batch("rewind", {"version": "2"}), "filter['version']", "give a whole number"),
    "batch(NUL)": (lambda: anything.batch("rewind", {"name": "a\0"}), "filter['name']", "NUL characters"),
    "what_if(mocks=[1])": (lambda: anything.what_if("done", 0, mocks=[1]), "mocks", "give a dict"),
    "result(timeout='5')": (lambda: anything.result("done", timeout="5"), "timeout", "give a number of seconds"),
    "start(signal='go')": (lambda: anything.start("flow", (1,), signal="go"), "start(signal)", "give a tuple"),
    "start(kwargs=[1])": (lambda: anything.start("flow", kwargs=[1]), "start(kwargs)", "give a dict"),
    "complete_activity(5)": (lambda: anything.complete_activity(5), "token", "what activity.complete_later() returned"),
    "fail_activity(error=5)": (lambda: anything.fail_activity("...", 5), "error", "give an exception or a message"),
}


@pytest.mark.usefixtures("valid")
@pytest.mark.parametrize("case", REFUSED)
def test_refusal_names_the_argument_and_what_to_give(case):
    call, where, instead = REFUSED[case]
    before = rows()

    with pytest.raises(InvalidInput) as caught:
        call()

    assert caught.value.where == where
    assert instead in caught.value.problem
    assert rows() == before


@pytest.mark.usefixtures("valid")
def test_refusal_of_a_kind_is_in_the_audit_and_in_the_preview():
    preview = anything.rewind("failed", to="1", dry_run=True)

    assert (preview.allowed, type(preview.refusal)) == (False, InvalidInput)
    row = Operation.objects.latest("pk")
    assert (row.verb, row.outcome, row.arguments) == ("rewind", "refused", {"to": "1"})
    assert row.error == "InvalidInput: to: '1' cannot be taken; give a whole number"


@pytest.mark.usefixtures("valid")
@pytest.mark.parametrize(("actor", "named"), [("ada\0", "'ada\\x00'"), (5, "5"), ("x" * 300, f"'{'x' * 254}")])
def test_whoever_cannot_be_named_is_quoted_in_the_audit(actor, named):
    for verb, more in (("cancel", ()), ("rewind", ()), ("signal", ("go",))):
        with pytest.raises(InvalidInput, match="actor"):
            getattr(client, verb)("open", *more, actor=actor, reason="why")

        row = Operation.objects.latest("pk")
        assert (row.verb, row.instance_id, row.outcome, row.reason) == (verb, "open", "refused", "why")
        assert (row.actor, row.actor_name) == (None, named)
        assert row.error.startswith("InvalidInput: actor: ")


@pytest.mark.usefixtures("valid")
def test_verb_of_which_nobody_can_tell_whether_it_was_to_be_done_is_in_the_audit():
    with pytest.raises(InvalidInput, match="dry_run"):
        client.cancel("open", dry_run="no", actor="ada")

    row = Operation.objects.latest("pk")
    assert (row.verb, row.actor_name, row.dry_run, row.outcome) == ("cancel", "ada", False, "refused")
