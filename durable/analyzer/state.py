"""The rules about what is changed: state that outlives the workflow, and state that a query may only look at."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from durable.analyzer import rules, tables
from durable.analyzer.places import Place, Problem, root
from durable.analyzer.things import Thing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.analyzer.things import Function

_CONTAINERS = frozenset(
    [f"builtins.{kind}()" for kind in ("list", "dict", "set", "bytearray")]
    + [f"collections.{kind}()" for kind in ("deque", "defaultdict", "Counter", "OrderedDict")]
)
_CHANGING = frozenset(
    {"append", "appendleft", "extend", "extendleft", "insert", "remove", "sort", "reverse"}
    | {"pop", "popleft", "popitem", "clear", "update", "setdefault", "add", "discard"}
)
_QUERY, _UPDATE = f"{tables.WORKFLOW}.query", f"{tables.WORKFLOW}.update"


def shared_state(node: ast.AST, at: Place) -> Iterator[Problem]:
    """Report changes of what every instance in the process shares."""
    message = "{} outlives the workflow and is shared by all that run in the process, so a replay finds it changed"
    if isinstance(node, ast.Global):
        written = [name for name in node.names if _is_written(name, at.function.node)]
        for name in written:
            yield Problem(rule=rules.SHARED_STATE, node=node, message=message.format(f"the global {name}"))
    for changed in _changed(node, at):
        if at.is_outside(root(changed)):
            yield Problem(rule=rules.SHARED_STATE, node=changed, message=message.format(ast.unparse(changed)))


def _is_written(name: str, function: ast.AST) -> bool:
    return any(
        isinstance(each, ast.Name) and each.id == name and not isinstance(each.ctx, ast.Load)
        for each in ast.walk(function)
    )


def _changed(node: ast.AST, at: Place) -> Iterator[ast.expr]:
    """Yield what a statement or a call changes in place."""
    if isinstance(node, ast.Call):
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in _CHANGING and at.path(called.value) in _CONTAINERS:
            yield from [called.value] if root(called.value) else []
    for target in _targets(node):
        for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            if isinstance(part, ast.Attribute | ast.Subscript) and root(part):
                yield part


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []


def queries(node: ast.AST, at: Place) -> Iterator[Problem]:
    """Report what queries and validators do but look."""
    for kind, thing in _asked(node, at):
        code = at.code_of(thing)
        if code is not None and not isinstance(code.node, ast.Lambda):
            yield from _acts(kind, code)


def _asked(node: ast.AST, at: Place) -> Iterator[tuple[str, Thing | None]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for decorator in node.decorator_list:
            if at.path(decorator) == _QUERY:
                yield "query", Thing(path=node.name, node=node, scope=at.scope)
    elif isinstance(node, ast.Call):
        path = at.path(node.func)
        if path == _QUERY and node.args:
            yield "query", at.thing(node.args[0])
        for keyword in node.keywords if path == _UPDATE else ():
            if keyword.arg == "validator":
                yield "validator", at.thing(keyword.value)


def _acts(kind: str, code: Function) -> Iterator[Problem]:
    name = f"the {kind} {code.name}"
    if isinstance(code.node, ast.AsyncFunctionDef):
        message = f"{name} is an async def, but answers at once"
        yield Problem(rule=rules.QUERY, node=code.node, message=message, hint="Make it a plain def.")
    for node in ast.walk(code.node):
        at = Place(function=code, scope=code.scope, parent=code.node)
        for done in _done(node, at):
            message = f"{name} {done}: a replay does not run queries, and would differ"
            yield Problem(rule=rules.QUERY, node=node, message=message)


def _done(node: ast.AST, at: Place) -> Iterator[str]:
    if isinstance(node, ast.Await):
        yield "awaits"
    elif isinstance(node, ast.Call):
        thing = at.thing(node.func)
        if thing is not None and thing.role is not None:
            yield f"calls the {thing.role.value} {ast.unparse(node.func)}"
        elif thing is not None and thing.path in tables.COMMANDS:
            yield f"calls {thing.path.removeprefix('durable.')}()"
    elif isinstance(node, ast.Nonlocal):
        for name in node.names:
            if _is_written(name, at.function.node):
                yield f"changes {name}"
    for changed in _changed(node, at):
        if at.is_outside(root(changed)):
            yield f"changes {ast.unparse(changed)}"
