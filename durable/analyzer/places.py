"""Where the reader stands in the code, and what rules ask it there."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durable.analyzer.scopes import Scope
    from durable.analyzer.things import Function, Thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a rule says of a node.

    Attributes:
        hint: What to do instead; the rule's own if empty.
    """

    rule: str
    node: ast.AST
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node of a function that is read.

    Attributes:
        parent: The node around it.
        scope: What names mean there.
    """

    function: Function
    scope: Scope
    parent: ast.AST

    def thing(self, node: ast.expr | None) -> Thing | None:
        """Return what an expression refers to."""
        return None if node is None else self.function.resolver.thing(node, self.scope)

    def path(self, node: ast.expr | None) -> str:
        """Return the dotted name of what an expression refers to, or an empty text."""
        thing = self.thing(node)
        return thing.path if thing is not None else ""

    def is_outside(self, name: str) -> bool:
        """Say whether a name is bound outside the function: it outlives the call."""
        found = self.scope.find(name)
        return found is None or not found.is_within(self.function.scope)

    def code_of(self, thing: Thing | None) -> Function | None:
        """Return the code of a function of the project."""
        resolver = self.function.resolver
        if thing is None or thing.role is not None:
            return None
        if isinstance(thing.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            scope = resolver.source.scopes[thing.node]
            return type(self.function)(
                node=thing.node, scope=scope, source=resolver.source, resolver=resolver, owner=thing.owner
            )
        return resolver.names.function(thing) if thing.node is None else None


Rule = Callable[[ast.AST, Place], Iterator[Problem]]


def own(*nodes: ast.AST) -> Iterator[ast.AST]:
    """Yield nodes and what they hold, but for the bodies of functions and classes defined there."""
    for node in nodes:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from own(*ast.iter_child_nodes(node))


def root(node: ast.expr) -> str:
    """Return the name that a chain of attributes and subscripts begins with, or an empty text."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
