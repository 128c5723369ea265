"""What names in code refer to, as far as that can be told without running it."""

from __future__ import annotations

import ast
import inspect
import types
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from durable.analyzer.resolving import Resolver
    from durable.analyzer.scopes import Binding, Callable_, Scope
    from durable.analyzer.sources import Source


class Role(Enum):
    """What ``defn`` made of a function."""

    ACTIVITY = "activity"
    WORKFLOW = "child workflow"


class Missing(Enum):
    """Stands for an object that is not at hand; None is one."""

    MISSING = 0


MISSING = Missing.MISSING


def is_a(value: Any, kinds: type | tuple[type, ...]) -> bool:
    """Do what ``isinstance`` does, without asking the object: a lazy one would begin to work."""
    return issubclass(type(value), kinds)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thing:
    """What an expression refers to.

    Attributes:
        path: Its dotted name; what a call returns has ``()`` behind it: ``pathlib.Path().open``.
        value: The object itself, if it is at hand.
        kind: The class that it is an instance of, if that is at hand.
        node: The function or class that defines it, if the file at hand does.
        scope: Where ``node`` stands.
        owner: The class or instance of which it is a method.
        role: What it is to durable.
    """

    path: str
    value: Any = MISSING
    kind: type | None = None
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | None = None
    scope: Scope | None = None
    owner: Thing | None = None
    role: Role | None = None

    @property
    def is_async(self) -> bool:
        """Whether calling it does nothing before the result is awaited."""
        if is_a(self.value, types.FunctionType):
            return inspect.iscoroutinefunction(self.value)
        return isinstance(self.node, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Function:
    """A function to read: its code, and what the names in it mean.

    Attributes:
        scope: Its own scope.
        owner: The class or instance of which it is a method.
    """

    node: Callable_
    scope: Scope
    source: Source
    resolver: Resolver
    owner: Thing | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return getattr(self.node, "name", "lambda")


class Names(Protocol):
    """Tells what names mean that the code at hand does not bind itself.

    One implementation asks the imported module's objects; the other knows
    nothing but the file.
    """

    def free(self, name: str) -> Thing | None:
        """Return what a name means that the code at hand does not bind."""

    def imported(self, binding: Binding) -> Thing:
        """Return what an import binds."""

    def member(self, thing: Thing, attribute: str) -> Thing | None:
        """Return an attribute of something that no node of the file defines."""

    def made(self, thing: Thing) -> Thing:
        """Return what calling something returns."""

    def function(self, thing: Thing) -> Function | None:
        """Return the code of a function of the project that stands elsewhere."""
