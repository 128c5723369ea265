"""Which function of a file binds which name, and to what."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Callable_ = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Opening = ast.Module | ast.ClassDef | Callable_ | Comprehension


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A place where a name gets a value.

    Attributes:
        node: A function, class or import statement, or what assigns.
        value: The expression whose whole value it gets, or None.
        imported: The dotted name of what it imports.
        level: How many dots a relative import has.
        annotation: The type that it is said to have.
        typing_only: Whether only type checkers see it.
    """

    node: ast.AST
    value: ast.expr | None = None
    imported: str = ""
    level: int = 0
    annotation: ast.expr | None = None
    typing_only: bool = False


@dataclass(slots=True, eq=False)
class Scope:
    """A part of a file with names of its own."""

    node: Opening
    parent: Scope | None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    global_names: set[str] = field(default_factory=set)
    nonlocal_names: set[str] = field(default_factory=set)

    def find(self, name: str) -> Scope | None:
        """Return the scope that binds a name as seen from here, or None if the file does not."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.global_names:
                module = scope.module()
                return module if name in module.bindings else None
            # What a class binds, its methods do not see.
            if name in scope.bindings and (scope is self or not isinstance(scope.node, ast.ClassDef)):
                return scope
            scope = scope.parent
        return None

    def module(self) -> Scope:
        """Return the scope of the file as a whole."""
        return self if self.parent is None else self.parent.module()

    def is_within(self, other: Scope) -> bool:
        """Say whether this is the other scope, or inside it."""
        return self is other or (self.parent is not None and self.parent.is_within(other))


def scopes(tree: ast.Module) -> dict[ast.AST, Scope]:
    """Return the scope that each module, class, function and comprehension opens."""
    builder = _Builder()
    builder.open(tree, None, tree.body)
    return builder.found


class _Builder:
    def __init__(self) -> None:
        self.found: dict[ast.AST, Scope] = {}
        self._typing_only = False

    def open(self, node: Opening, parent: Scope | None, inside: Iterable[ast.AST]) -> Scope:
        scope = self.found[node] = Scope(node=node, parent=parent)
        self._all(inside, scope)
        return scope

    def _read(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.Constant() | ast.expr_context():
                return  # most of all nodes
            case ast.Name(id=name, ctx=context):
                if not isinstance(context, ast.Load):
                    self._bind(scope, name, Binding(node=node))
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._function(node, scope)
                return
            case ast.ClassDef():
                self._bind(scope, node.name, Binding(node=node, typing_only=self._typing_only))
                self._all([*node.decorator_list, *node.bases, *node.keywords], scope)
                self.open(node, scope, node.body)
                return
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node, scope)
                return
            case ast.Assign() | ast.AnnAssign() | ast.NamedExpr():
                self._assignment(node, scope)
                return
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                before, self._typing_only = self._typing_only, True
                self._all(node.body, scope)
                self._typing_only = before
                self._all(node.orelse, scope)
                return
        self._statement(node, scope)
        self._all(ast.iter_child_nodes(node), scope)

    def _statement(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope)
            case ast.Global(names=names):
                scope.global_names.update(names)
            case ast.Nonlocal(names=names):
                scope.nonlocal_names.update(names)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                self._bind(scope, name, Binding(node=node))
            case ast.MatchMapping(rest=str(name)):
                self._bind(scope, name, Binding(node=node))

    def _all(self, nodes: Iterable[ast.AST], scope: Scope) -> None:
        for node in nodes:
            self._read(node, scope)

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr, scope: Scope) -> None:
        around = scope
        while isinstance(node, ast.NamedExpr) and isinstance(around.node, Comprehension) and around.parent is not None:
            around = around.parent
        annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._assign(target, node.value, annotation, around)
        if node.value is not None:
            self._read(node.value, scope)

    def _assign(self, target: ast.expr, value: ast.expr | None, annotation: ast.expr | None, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            binding = Binding(node=target, value=value, annotation=annotation, typing_only=self._typing_only)
            self._bind(scope, target.id, binding)
        else:
            self._read(target, scope)

    def _function(self, node: Callable_, scope: Scope) -> None:
        given = node.args
        self._all([*given.defaults, *(default for default in given.kw_defaults if default is not None)], scope)
        if not isinstance(node, ast.Lambda):
            self._bind(scope, node.name, Binding(node=node, typing_only=self._typing_only))
            self._all(node.decorator_list, scope)
        inner = self.open(node, scope, ())
        for parameter in parameters(given):
            self._bind(inner, parameter.arg, Binding(node=parameter, annotation=parameter.annotation))
        self._all([node.body] if isinstance(node, ast.Lambda) else node.body, inner)

    def _comprehension(self, node: Comprehension, scope: Scope) -> None:
        # Python evaluates the first iterable outside.
        self._all([node.generators[0].iter], scope)
        parts: list[ast.AST] = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for number, generator in enumerate(node.generators):
            parts += [generator.target, *generator.ifs, *([generator.iter] if number else [])]
        self.open(node, scope, parts)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                path, level = f"{node.module}.{alias.name}" if node.module else alias.name, node.level
                bound = alias.asname or alias.name
            else:
                path, level = alias.name, 0
                bound = alias.asname or path.partition(".")[0]
                path = path if alias.asname else bound
            binding = Binding(node=node, imported=path, level=level, typing_only=self._typing_only)
            self._bind(scope, bound, binding)

    def _bind(self, scope: Scope, name: str, binding: Binding) -> None:
        if name in scope.global_names:
            scope = scope.module()
        elif name in scope.nonlocal_names:
            scope = (scope.parent.find(name) if scope.parent else None) or scope
        scope.bindings.setdefault(name, []).append(binding)


def parameters(given: ast.arguments) -> list[ast.arg]:
    """Return all parameters of a function."""
    rest = [given.vararg, given.kwarg]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *(each for each in rest if each is not None)]
