"""Ask an instance about itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from asgiref.sync import sync_to_async

from durable import conf
from durable.core import queries, texts
from durable.core.errors import InvalidInput
from durable.engine import looking
from durable.operations import elsewhere
from durable.store import instances


def query(instance_id: str, name: str, /, *args: Any, **kwargs: Any) -> Any:
    """Call a query that the workflow registered and return its answer, as plain JSON.

    Runs in this process, on the live execution or on a replay of the history;
    also when the instance has ended. Nothing is recorded.

    Raises:
        UnknownInstance: There is none of this id.
        InvalidInput: It has not begun, has no such query, or the arguments do not fit.
        ReadOnly, ForbiddenInWorkflow: The query tried to change something, or to reach outside.
        RunawayStep: It took too long.
        UnknownWorkflow, VersionNotAvailable: This process does not have the code.
        NondeterminismError: The code does not do what the history records.
    """
    texts.check_name(name, "query(name)")
    instance = instances.get(instance_id)
    if not instance.head:
        raise InvalidInput(f"query {name!r}", f"instance {instance_id!r} has not begun yet")
    arguments = encode(f"query {name}", args, kwargs)
    with elsewhere.telling(instance), looking.look(instance) as execution:
        return queries.answer(execution, name, arguments)


def encode(where: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call as plain JSON, without knowing what they are for.

    Raises:
        InvalidInput: One has no JSON form.
    """
    converter = conf.converter()
    return {
        "args": [converter.encode(value, where) for value in args],
        "kwargs": {key: converter.encode(value, f"{where}({key})") for key, value in kwargs.items()},
    }


async def aquery(instance_id: str, name: str, /, *args: Any, **kwargs: Any) -> Any:
    """Call a query from async code; see ``query``."""
    # Bound first: what calls it would take a keyword that is called as one of its own for that.
    return await sync_to_async(partial(query, instance_id, name, *args, **kwargs))()
