"""The rules about how workflows and activities are declared: what they take, and how they say that they are alive."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from durable.analyzer import rules, tables
from durable.analyzer.places import Place, Problem
from durable.analyzer.scopes import parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.analyzer.things import Function
    from durable.core.definitions import ActivityDefinition, WorkflowDefinition
    from durable.core.payloads import Converter


def by_names(function: Function) -> Iterator[Problem]:
    """Report parameters and results whose annotation has no JSON form, by its name."""
    for what, annotation in annotated(function).items():
        for part in _parts(annotation):
            path = function.resolver.thing(part, function.scope)
            if path is not None and path.path in tables.NO_JSON:
                yield unusable(what, annotation, f"{ast.unparse(part)} has no JSON form")
            elif isinstance(part, ast.Name) and _is_typing_only(part.id, function):
                why = f"{part.id} is imported for type checkers only, so nobody can tell how to read the value"
                yield unusable(what, annotation, why)


def by_signature(
    function: Function, definition: WorkflowDefinition | ActivityDefinition, converter: Converter
) -> Iterator[Problem]:
    """Report what the definition's own signature says of its annotations."""
    found = annotated(function)
    for what, why in definition.signature.doubts(converter):
        yield unusable(what, found.get(what, function.node), why)


def annotated(function: Function) -> dict[str, ast.expr]:
    """Return the annotations of parameters by their names, and that of the result as ``return``."""
    node = function.node
    if isinstance(node, ast.Lambda):
        return {}
    found = {each.arg: each.annotation for each in parameters(node.args) if each.annotation is not None}
    return {**found, "return": node.returns} if node.returns is not None else found


def unusable(what: str, node: ast.AST, why: str) -> Problem:
    """Return the problem with an annotation."""
    where = "the result" if what == "return" else f"the parameter {what}"
    return Problem(rule=rules.ANNOTATION, node=node, message=f"{where} cannot be stored: {why}")


def _parts(annotation: ast.expr) -> Iterator[ast.expr]:
    """Yield the names in an annotation, also in one that is a text."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return
    match annotation:
        case ast.Name() | ast.Attribute():
            yield annotation
        case ast.Subscript(value=ast.Name(id="Literal") | ast.Attribute(attr="Literal")):
            return
        case _:
            for child in ast.iter_child_nodes(annotation):
                if isinstance(child, ast.expr):
                    yield from _parts(child)


def _is_typing_only(name: str, function: Function) -> bool:
    scope = function.scope.find(name)
    return scope is not None and all(binding.typing_only for binding in scope.bindings[name])


def heartbeats(function: Function, *, has_timeout: bool | None) -> Iterator[Problem]:
    """Report heartbeats of an activity that nobody would miss.

    Args:
        has_timeout: Whether it has a heartbeat timeout; None to look at its decorator.
    """
    if isinstance(function.node, ast.Lambda):
        return
    if has_timeout is None:
        given = [each for each in function.node.decorator_list if isinstance(each, ast.Call)]
        # With **options nobody can tell.
        has_timeout = any(keyword.arg in ("heartbeat", None) for each in given for keyword in each.keywords)
    if has_timeout:
        return
    at = Place(function=function, scope=function.scope, parent=function.node)
    for node in ast.walk(function.node):
        if isinstance(node, ast.Call) and at.path(node.func) == f"{tables.ACTIVITY}.heartbeat":
            message = f"{function.name} heartbeats, but has no heartbeat timeout, so nobody notices when it stops"
            yield Problem(rule=rules.HEARTBEAT, node=node, message=message)
            return
