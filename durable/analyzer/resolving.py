"""Finds out what an expression refers to: through imports, assignments, attributes and calls."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from durable.analyzer import tables
from durable.analyzer.things import Names, Role, Thing

if TYPE_CHECKING:
    from durable.analyzer.scopes import Binding, Scope
    from durable.analyzer.sources import Source

_LITERALS: dict[type[ast.expr], str] = {
    ast.List: "builtins.list()",
    ast.ListComp: "builtins.list()",
    ast.Dict: "builtins.dict()",
    ast.DictComp: "builtins.dict()",
    ast.Set: "builtins.set()",
    ast.SetComp: "builtins.set()",
}
_ROLES = {f"{tables.ACTIVITY}.defn": Role.ACTIVITY, f"{tables.WORKFLOW}.defn": Role.WORKFLOW}
_BY_NAME = {
    f"{tables.WORKFLOW}.activity_by_name": Role.ACTIVITY,
    f"{tables.WORKFLOW}.child_by_name": Role.WORKFLOW,
}


class Resolver:
    """Resolves the expressions of one function, or of one file.

    Attributes:
        top: The outermost scope that it reads; ``names`` tells what that does not bind.
        owner: The class or instance whose method ``top`` is, if it is one.
    """

    def __init__(self, source: Source, names: Names, top: Scope, owner: Thing | None = None) -> None:
        self.source, self.names, self.top, self.owner = source, names, top, owner
        self._known: dict[ast.expr, Thing | None] = {}

    def thing(self, node: ast.expr, scope: Scope) -> Thing | None:
        """Return what an expression in a scope refers to, or None if that cannot be told."""
        if node not in self._known:
            self._known[node] = None  # in case that it refers to itself
            self._known[node] = self._thing(node, scope)
        return self._known[node]

    def bindings(self, name: str, scope: Scope) -> tuple[Scope, list[Binding]] | None:
        """Return where the code at hand binds a name, or None if it does not."""
        found = scope.find(name)
        return (found, found.bindings[name]) if found is not None and found.is_within(self.top) else None

    def role(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> Role | None:
        """Return what a function's decorators make of it."""
        for decorator in node.decorator_list:
            given = decorator.func if isinstance(decorator, ast.Call) else decorator
            thing = self.thing(given, scope)
            if thing is not None and thing.path in _ROLES:
                return _ROLES[thing.path]
        return None

    def member(self, thing: Thing, attribute: str) -> Thing | None:
        """Return an attribute of a thing."""
        if thing.role is not None:
            return Thing(path=f"{thing.path}.{attribute}", owner=thing)
        if isinstance(thing.node, ast.ClassDef) and thing.scope is not None:
            return self._of_class(thing, thing.node, attribute)
        return self.names.member(thing, attribute)

    def call(self, thing: Thing) -> Thing | None:
        """Return what calling a thing returns."""
        if thing.owner is not None and thing.owner.role is not None:
            return thing.owner if thing.path.endswith(".options") else None
        if thing.role is not None:
            return None
        if thing.path in _BY_NAME:
            return Thing(path=thing.path, role=_BY_NAME[thing.path])
        if isinstance(thing.node, ast.ClassDef):
            return replace(thing, path=f"{thing.path}()")
        return None if thing.node is not None else self.names.made(thing)

    def _thing(self, node: ast.expr, scope: Scope) -> Thing | None:
        match node:
            case ast.Name(id=name):
                return self._named(name, scope)
            case ast.Attribute(value=value, attr=attribute):
                owner = self.thing(value, scope)
                return owner and self.member(owner, attribute)
            case ast.Call(func=func):
                called = self.thing(func, scope)
                return called and self.call(called)
            case ast.NamedExpr(value=value):
                return self.thing(value, scope)
            case ast.Lambda():
                return Thing(path="lambda", node=node, scope=scope)
            case ast.BinOp(left=left, op=ast.Div()):
                folder = self.thing(left, scope)
                return folder if folder is not None and folder.path == "pathlib.Path()" else None
        path = _LITERALS.get(type(node))
        return Thing(path=path) if path else None

    def _named(self, name: str, scope: Scope) -> Thing | None:
        bound = self.bindings(name, scope)
        if bound is None:
            return self.names.free(name)
        found, bindings = bound
        # Which of several counts depends on the path that the code took.
        if len(bindings) > 1 and not all(binding.imported for binding in bindings):
            return None
        return self._bound(name, bindings[-1], found)

    def _bound(self, name: str, binding: Binding, scope: Scope) -> Thing | None:
        match binding.node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() as node:
                return Thing(path=name, node=node, scope=scope, role=self.role(node, scope))
            case ast.ClassDef() as node:
                return Thing(path=self._class_path(node, scope), node=node, scope=scope)
            case ast.Import() | ast.ImportFrom():
                return self.names.imported(binding)
            case ast.arg() as parameter if (owner := self._self(parameter, scope)) is not None:
                return owner
        if binding.value is not None:
            return self.thing(binding.value, scope)
        if binding.annotation is not None:
            annotated = self.thing(binding.annotation, scope)
            return annotated and self.call(annotated)
        return None

    def _self(self, parameter: ast.arg, scope: Scope) -> Thing | None:
        """Return what ``self`` or ``cls`` is."""
        node, around = scope.node, scope.parent
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or around is None:
            return None
        decorators = {each.id for each in node.decorator_list if isinstance(each, ast.Name)}
        first = [*node.args.posonlyargs, *node.args.args][:1]
        if not isinstance(around.node, ast.ClassDef) or first != [parameter] or "staticmethod" in decorators:
            return None
        if self.owner is not None and scope is self.top:
            return self.owner
        outer = around.parent or around
        kind = Thing(path=self._class_path(around.node, outer), node=around.node, scope=outer)
        return kind if "classmethod" in decorators else self.call(kind)

    def _of_class(self, thing: Thing, node: ast.ClassDef, attribute: str) -> Thing | None:
        scope = self.source.scopes[node]
        if attribute in scope.bindings:
            found = self._bound(attribute, scope.bindings[attribute][-1], scope)
            return found and replace(found, owner=thing)
        for base in node.bases:
            parent = self.thing(base, scope.parent or scope)
            if parent is not None and parent.node is not node:
                kind = self.call(parent) if thing.path.endswith("()") else parent
                return kind and self.member(kind, attribute)
        return self.names.member(replace(thing, node=None), attribute)

    def _class_path(self, node: ast.ClassDef, scope: Scope) -> str:
        bases = [self.thing(base, scope) for base in node.bases]
        return next((base.path for base in bases if base is not None and tables.is_landmark(base.path)), node.name)
