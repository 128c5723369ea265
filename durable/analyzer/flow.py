"""The rules about loops that never end, and handlers that catch too much."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from durable.analyzer import rules, tables
from durable.analyzer.places import Place, Problem, own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.analyzer.things import Function

_EVERYTHING = "builtins.BaseException"
_ENDLESS = frozenset({"itertools.count", "itertools.cycle", "itertools.repeat"})
_GO_ON = f"{tables.WORKFLOW}.continue_as_new"
_DEPTH = 3


def swallowed(node: ast.AST, at: Place) -> Iterator[Problem]:
    """Report handlers that catch everything and do not raise again."""
    message = "{} also swallows cancellation, and what ends the execution"
    match node:
        case ast.Try(handlers=handlers) | ast.TryStar(handlers=handlers):
            for handler in handlers:
                if _is_everything(handler.type, at) and not any(isinstance(e, ast.Raise) for e in own(*handler.body)):
                    what = f"except {ast.unparse(handler.type)}" if handler.type else "a bare except"
                    yield Problem(rule=rules.SWALLOWED, node=handler, message=message.format(what))
        case ast.Call(func=func, args=given) if at.path(func) == "contextlib.suppress":
            if any(at.path(each) == _EVERYTHING for each in given):
                yield Problem(rule=rules.SWALLOWED, node=node, message=message.format("suppress(BaseException)"))


def _is_everything(kind: ast.expr | None, at: Place) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(at.path(each) == _EVERYTHING for each in kind.elts)
    return kind is None or at.path(kind) == _EVERYTHING


def loops(node: ast.AST, at: Place) -> Iterator[Problem]:
    """Report loops that wait without awaiting, and those that let the history grow for ever."""
    if not isinstance(node, ast.While | ast.For | ast.AsyncFor):
        return
    endless = _is_endless(node, at)
    if not (endless or _is_idle(node)) or _has_exit(node, at):
        return
    if not _awaits(node):
        message = "this loop never awaits, so nothing that it waits for can happen"
        yield Problem(rule=rules.BUSY_LOOP, node=node, message=message)
    elif endless and at.scope is at.function.scope:
        # A task that loops for ever in a nested function ends when it is canceled.
        message = "this loop has no end, and with each round the history grows that a replay has to read"
        yield Problem(rule=rules.ENDLESS_LOOP, node=node, message=message)


def _is_endless(node: ast.While | ast.For | ast.AsyncFor, at: Place) -> bool:
    if isinstance(node, ast.While):
        return isinstance(node.test, ast.Constant) and bool(node.test.value)
    taken = node.iter
    if not isinstance(taken, ast.Call):
        return isinstance(node, ast.AsyncFor) and at.path(taken) == f"{tables.WORKFLOW}.signals()"
    path = at.path(taken.func)
    if path == "itertools.repeat":
        return len(taken.args) == 1
    return path in _ENDLESS or path == f"{tables.WORKFLOW}.signals"


def _is_idle(node: ast.While | ast.For | ast.AsyncFor) -> bool:
    """Say whether a loop's condition cannot change by what the loop does."""
    if not isinstance(node, ast.While):
        return False
    if all(isinstance(each, ast.Pass | ast.Continue) or _is_constant(each) for each in node.body):
        return not any(isinstance(each, ast.NamedExpr) for each in own(node.test))
    names = {each.id for each in own(node.test) if isinstance(each, ast.Name)}
    inside = list(own(*node.body, node.test))
    written = {each.id for each in inside if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load)}
    return bool(names) and not (names & written) and not any(isinstance(e, ast.Call | ast.Subscript) for e in inside)


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _awaits(node: ast.AST) -> bool:
    inside = own(*ast.iter_child_nodes(node))
    return isinstance(node, ast.AsyncFor) or any(
        isinstance(each, ast.Await | ast.AsyncFor | ast.AsyncWith) or getattr(each, "is_async", 0) for each in inside
    )


def _has_exit(node: ast.While | ast.For | ast.AsyncFor, at: Place) -> bool:
    if any(isinstance(each, ast.Return | ast.Raise | ast.Yield | ast.YieldFrom) for each in own(*node.body)):
        return True
    return any(map(_breaks, node.body)) or _goes_on(node, at.function, at, _DEPTH)


def _breaks(node: ast.AST) -> bool:
    """Say whether a statement leaves the loop that it stands in."""
    if isinstance(node, ast.Break):
        return True
    if isinstance(node, ast.While | ast.For | ast.AsyncFor):
        return any(map(_breaks, node.orelse))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return False
    return any(map(_breaks, ast.iter_child_nodes(node)))


def _goes_on(node: ast.AST, function: Function, at: Place, depth: int) -> bool:
    """Say whether code continues as new, or calls what does."""
    for each in ast.walk(node):
        if not isinstance(each, ast.Call):
            continue
        thing = function.resolver.thing(each.func, at.scope)
        if thing is not None and thing.path == _GO_ON:
            return True
        called = at.code_of(thing) if depth else None
        if called is not None:
            there = Place(function=called, scope=called.scope, parent=called.node)
            if _goes_on(called.node, called, there, depth - 1):
                return True
    return False
