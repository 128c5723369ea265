"""The rules about what is called or used: clocks, randomness, the database and all the rest of the world."""

from __future__ import annotations

import ast
import builtins
import re
from typing import TYPE_CHECKING

from durable.analyzer import rules, tables
from durable.analyzer.places import Problem
from durable.analyzer.things import is_a

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.analyzer.places import Place
    from durable.analyzer.things import Thing

_ERRORS = re.compile(r"(Error|Exception|Timeout|Warning|Expired)$")
_TASK = re.compile(r"(^celery\.|\btasks\.).*\.(delay|apply_async)$")


def calls(node: ast.AST, at: Place) -> Iterator[Problem]:
    """Report calls of what is forbidden, also by whoever it is handed to."""
    if not isinstance(node, ast.Call):
        return
    thing = at.thing(node.func)
    if thing is not None and not _is_error(thing):
        entry = tables.find(thing.path)
        if entry is not None and len(node.args) + len(node.keywords) <= entry.arguments:
            yield _problem(entry, node, node.func, thing.path)
        elif _TASK.search(thing.path):
            yield Problem(
                rule=rules.NETWORK,
                node=node,
                message=f"{_shown(node.func, thing.path)}() publishes a Celery task, which each replay would do again",
                hint="Make an activity of the task with activity.from_celery(task), and await that.",
            )
    if thing is None or thing.path != tables.SIDE_EFFECT:
        yield from _handed_on([*node.args, *(keyword.value for keyword in node.keywords)], at)


def _handed_on(arguments: list[ast.expr], at: Place) -> Iterator[Problem]:
    for given in arguments:
        path = at.path(given) if isinstance(given, ast.Name | ast.Attribute) else ""
        entry = tables.CALLS.get(path)
        # With which arguments it will be called nobody knows, and a class is compared with more often than called.
        if entry is not None and entry.arguments == tables.ANY and path.rpartition(".")[2][:1].islower():
            yield _problem(entry, given, given, path)


def uses(node: ast.AST, at: Place) -> Iterator[Problem]:
    """Report uses of what is forbidden."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        path = at.path(node)
        if path in tables.USES:
            yield _problem(tables.USES[path], node, node, path)


def _problem(entry: tables.Entry, node: ast.expr, named: ast.expr, path: str) -> Problem:
    message = tables.MESSAGES[entry.rule].format(name=_shown(named, path))
    return Problem(rule=entry.rule, node=node, message=message, hint=entry.hint)


def _shown(node: ast.expr, path: str) -> str:
    """Return the dotted name of a thing; of what belongs to an instance, the words in the code say more."""
    return ast.unparse(node) if "()" in path else path.removeprefix("builtins.")


def _is_error(thing: Thing) -> bool:
    if is_a(thing.value, type):
        return issubclass(thing.value, builtins.BaseException)
    return bool(_ERRORS.search(thing.path))
