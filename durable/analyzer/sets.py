"""The rule about sets, whose order differs from one process to the next."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from durable.analyzer import rules
from durable.analyzer.places import Problem
from durable.analyzer.things import is_a

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from durable.analyzer.places import Place
    from durable.analyzer.scopes import Binding

_ANY_ORDER = frozenset(
    f"builtins.{name}" for name in ["sorted", "set", "frozenset", "len", "min", "max", "sum", "any", "all"]
)
_IN_ORDER = frozenset(
    f"builtins.{name}"
    for name in ["list", "tuple", "enumerate", "iter", "map", "filter", "zip", "next", "reversed", "dict.fromkeys"]
)
_SETS = frozenset(
    {"builtins.set", "builtins.frozenset", "collections.abc.Set", "collections.abc.MutableSet"}
    | {"typing.Set", "typing.FrozenSet", "typing.AbstractSet"}
)
_GIVING_SETS = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
_OPERATORS = ast.BitOr | ast.BitAnd | ast.BitXor | ast.Sub
_NUMBERS = frozenset({"builtins.int", "builtins.float", "builtins.bool"})


def order_of_set(node: ast.AST, at: Place) -> Iterator[Problem]:
    """Report what depends on the order of a set."""
    for taken in _in_order(node, at):
        if _is_set(taken, at):
            yield Problem(
                rule=rules.SET_ORDER,
                node=taken,
                message=f"the order of the set {ast.unparse(taken)} differs from process to process, so a replay "
                "may go through it in another one",
            )


def _in_order(node: ast.AST, at: Place) -> Iterable[ast.expr]:
    """Return the expressions whose elements a node takes one after the other."""
    match node:
        case ast.For(iter=taken) | ast.AsyncFor(iter=taken):
            return [taken]
        case ast.ListComp(generators=generators) | ast.DictComp(generators=generators):
            return [] if _is_order_lost(at) else [each.iter for each in generators]
        case ast.GeneratorExp(generators=generators):
            return [] if _is_order_lost(at) else [each.iter for each in generators]
        case ast.Starred(value=taken) if not isinstance(at.parent, ast.Set) and not _is_order_lost(at):
            return [taken]
        case ast.Assign(targets=[ast.Tuple() | ast.List()], value=taken):
            return [taken]
        case ast.Call(func=ast.Attribute(value=taken, attr="pop"), args=[]):
            return [taken]
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[taken]):
            return [taken]
        case ast.Call(func=func, args=given) if at.path(func) in _IN_ORDER and not _is_order_lost(at):
            return given
    return []


def _is_order_lost(at: Place) -> bool:
    return isinstance(at.parent, ast.Call) and at.path(at.parent.func) in _ANY_ORDER


def _is_set(node: ast.expr, at: Place) -> bool:
    """Say whether an expression is a set whose order is not the same everywhere."""
    match node:
        case ast.Set(elts=elements):
            return not all(map(_is_number, elements)) and not all(_is_task(each, at) for each in elements)
        case ast.SetComp(elt=element):
            return not _is_task(element, at)
        case ast.Call(func=func, args=given) if at.path(func) in _SETS:
            return not (given and _is_of_numbers(given[0], at))
        case ast.Call(func=ast.Attribute(value=value, attr=attribute)) if attribute in _GIVING_SETS:
            return _is_set(value, at)
        case ast.BinOp(left=left, op=operator, right=right) if isinstance(operator, _OPERATORS):
            return any(_is_set(each, at) or _is_keys(each) for each in (left, right))
        case ast.IfExp(body=body, orelse=other):
            return _is_set(body, at) or _is_set(other, at)
        case ast.Name(id=name):
            return _is_set_by_name(node, name, at)
        case ast.Attribute():
            return _is_set_object(node, at)
    return False


def _is_set_by_name(node: ast.expr, name: str, at: Place) -> bool:
    bound = at.function.resolver.bindings(name, at.scope)
    if bound is None:
        return _is_set_object(node, at)
    return any(_is_bound_to_set(binding, name, at) for binding in bound[1])


def _is_bound_to_set(binding: Binding, name: str, at: Place) -> bool:
    if binding.value is not None and not any(
        isinstance(part, ast.Name) and part.id == name for part in ast.walk(binding.value)
    ):
        if _is_set(binding.value, at):
            return not _is_filled_with_tasks(name, at)
        return False
    return binding.annotation is not None and _is_set_type(binding.annotation, at)


def _is_set_type(annotation: ast.expr, at: Place) -> bool:
    match annotation:
        case ast.Subscript(value=kind, slice=element):
            return at.path(kind) in _SETS and at.path(element) not in _NUMBERS
    return at.path(annotation) in _SETS


def _is_set_object(node: ast.expr, at: Place) -> bool:
    thing = at.thing(node)
    value: Any = thing.value if thing is not None else None
    return is_a(value, (set, frozenset)) and not all(isinstance(each, int | float) for each in value)


def _is_filled_with_tasks(name: str, at: Place) -> bool:
    # Tasks have a hash that is the same everywhere: their place in the order of creation.
    added = [
        node.args[0]
        for node in ast.walk(at.function.node)
        if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Attribute)
        if node.func.attr == "add" and isinstance(node.func.value, ast.Name) and node.func.value.id == name
    ]
    return bool(added) and all(_is_task(each, at) or _is_number(each) for each in added)


def _is_task(node: ast.expr, at: Place) -> bool:
    if isinstance(node, ast.Name) and (bound := at.function.resolver.bindings(node.id, at.scope)) is not None:
        return any(binding.value is not None and _is_task(binding.value, at) for binding in bound[1])
    called = node.func if isinstance(node, ast.Call) else None
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    return name in ("create_task", "ensure_future", "create_future")


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def _is_of_numbers(node: ast.expr, at: Place) -> bool:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return bool(node.elts) and all(map(_is_number, node.elts))
    return isinstance(node, ast.Call) and at.path(node.func) == "builtins.range"


def _is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "keys"
