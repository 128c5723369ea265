"""The rule about activities, children and coroutines that nobody awaits."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from durable.analyzer import rules, tables
from durable.analyzer.places import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.analyzer.places import Place


def unawaited(node: ast.AST, at: Place) -> Iterator[Problem]:
    """Report calls that do nothing, as nobody awaits what they return."""
    match node:
        case ast.Expr(value=ast.Call() as call) if what := _what(call, at):
            message = f"{what} is not awaited, so it never runs"
            yield Problem(rule=rules.UNAWAITED, node=call, message=message)
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if what := _what(call, at):
            if not _is_read(name, at.function.node):
                message = f"{what} is kept in {name} and never awaited, so it never runs"
                yield Problem(rule=rules.UNAWAITED, node=call, message=message)


def _what(call: ast.Call, at: Place) -> str:
    thing = at.thing(call.func)
    if thing is None:
        return ""
    shown = f"{ast.unparse(call.func)}()"
    if thing.role is not None:
        return f"the {thing.role.value} {shown}"
    return shown if thing.is_async or thing.path in tables.COROUTINES else ""


def _is_read(name: str, function: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Name) and each.id == name and isinstance(each.ctx, ast.Load) for each in ast.walk(function)
    )
