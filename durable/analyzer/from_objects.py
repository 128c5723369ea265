"""Tells what names mean by asking the objects of the imported modules."""

from __future__ import annotations

import builtins
import inspect
import sys
import sysconfig
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable.analyzer import tables
from durable.analyzer.resolving import Resolver
from durable.analyzer.things import MISSING, Function, Role, Thing, is_a
from durable.core.definitions import ActivityDefinition, WorkflowDefinition

if TYPE_CHECKING:
    from durable.analyzer.scopes import Binding
    from durable.analyzer.sources import Source, Sources

_LIBRARIES = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_OURS = str(Path(__file__).resolve().parent.parent)
_DESCRIPTOR = "django.db.models.manager.ManagerDescriptor()"
_ROUTINES = (
    property,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
)
_BOUND = (types.BuiltinMethodType, types.MethodType)


class World:
    """The process's objects: which of them the tables name, and where the code of functions stands."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._by_id: dict[int, str] = {}
        self._methods: dict[Any, str] = {}
        for landmark in tables.LANDMARKS:
            self._mark(landmark)

    def _mark(self, landmark: str) -> None:
        # What is not loaded, no object can be.
        path, _, _ = landmark.partition("()")
        value = loaded(path)
        if value is not MISSING:
            self._by_id.setdefault(id(value), path)
            if is_a(value, _BOUND):
                self._methods[value] = path  # made anew each time that somebody asks for it

    def thing(self, value: Any, path: str = "", owner: Thing | None = None) -> Thing:
        """Return an object as a thing.

        Args:
            value: The object.
            path: How the code got to it.
            owner: What it is an attribute of.
        """
        if is_a(value, ActivityDefinition):
            return Thing(path=value.name, value=value, role=Role.ACTIVITY)
        if is_a(value, WorkflowDefinition):
            return Thing(path=value.type_name, value=value, role=Role.WORKFLOW)
        if known := self._landmark(value):
            return Thing(path=known, value=value)
        if is_a(value, types.ModuleType):
            return Thing(path=value.__name__, value=value)
        if is_a(value, type):
            return Thing(path=self.class_path(value), value=value)
        if is_a(value, _ROUTINES):
            return Thing(path=self._routine(value) or path, value=value, owner=owner)
        found = f"{self.class_path(type(value))}()"
        return Thing(path=tables.MANAGER if found == _DESCRIPTOR else found, value=value, kind=type(value))

    def _landmark(self, value: Any) -> str | None:
        known = self._by_id.get(id(value))
        return self._methods.get(value) if known is None and is_a(value, _BOUND) else known

    def class_path(self, kind: type) -> str:
        """Return a class's dotted name; that of its base, if the tables know that one."""
        for each in inspect.getmro(kind):
            path = self._by_id.get(id(each)) or _public(f"{each.__module__}.{each.__qualname__}")
            if tables.is_landmark(path):
                return path
        return _public(f"{kind.__module__}.{kind.__qualname__}")

    def _routine(self, value: Any) -> str:
        bound: Any = getattr(value, "__self__", None)
        name = getattr(value, "__qualname__", "").rpartition(".")[2]
        if is_a(bound, type):
            return f"{self.class_path(bound)}.{name}"
        if bound is not None and not is_a(bound, types.ModuleType):
            return f"{self.class_path(type(bound))}().{name}"
        module = getattr(value, "__module__", None)  # methods of builtin types have none
        return _public(f"{module}.{value.__qualname__}") if module and name else ""

    def function(self, value: Any, owner: Thing | None = None) -> Function | None:
        """Return the code of a function, or None if it is none of the project's or its source is not there."""
        plain = plain_function(value)
        if plain is None or not is_project(plain.__code__.co_filename):
            return None
        return self.read(plain, owner)

    def read(self, plain: types.FunctionType, owner: Thing | None = None) -> Function | None:
        """Return the code of a function, whosever it is, or None if its source is not there."""
        source = self.sources.get(plain.__code__.co_filename, plain.__globals__)
        if source is None:
            return None
        node = source.functions.get((plain.__code__.co_name, plain.__code__.co_firstlineno))
        if node is None:
            return None
        scope = source.scopes[node]
        resolver = Resolver(source, ObjectNames(self, plain, source), scope, owner)
        return Function(node=node, scope=scope, source=source, resolver=resolver, owner=owner)


class ObjectNames:
    """Knows what a function's globals and its closure hold."""

    def __init__(self, world: World, function: types.FunctionType, source: Source) -> None:
        self._world, self._globals, self._source = world, function.__globals__, source
        self._closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))

    def free(self, name: str) -> Thing | None:
        """Return what the closure, the module or the builtins hold; last, what only type checkers see."""
        if name in self._closure:
            try:
                return self._world.thing(self._closure[name].cell_contents, name)
            except ValueError:  # not assigned yet
                return None
        if name in self._globals:
            return self._world.thing(self._globals[name], name)
        if hasattr(builtins, name):
            return self._world.thing(getattr(builtins, name), f"builtins.{name}")
        bindings = self._source.scopes[self._source.tree].bindings.get(name, ())
        return next((self.imported(each) for each in bindings if each.imported), None)

    def imported(self, binding: Binding) -> Thing:
        """Return what an import binds; the object too, if its module is loaded."""
        path = binding.imported
        if binding.level:
            package = str(self._globals.get("__package__") or "").split(".")
            path = ".".join([*package[: len(package) - binding.level + 1], path])
        value = loaded(path)
        return Thing(path=path) if value is MISSING else self._world.thing(value, path)

    def member(self, thing: Thing, attribute: str) -> Thing | None:
        """Return an attribute, without running any code of the object's."""
        path = f"{thing.path}.{attribute}"
        path = tables.SAME.get(path, path)
        if tables.is_named(path):
            return Thing(path=path)
        value = _attribute(thing, attribute)
        if value is MISSING:
            return Thing(path=tables.MANAGER if tables.is_manager(thing.path, attribute) else path)
        found = self._world.thing(value, path, thing)
        # A name in a package that is forbidden as a whole tells more than where the object comes from.
        return (
            Thing(path=path, value=value, owner=thing) if tables.find(path) and not tables.find(found.path) else found
        )

    def made(self, thing: Thing) -> Thing:
        """Return an instance of a class; of what else a call returns, the dotted name alone."""
        path = f"{thing.path}()"
        kind = thing.value if is_a(thing.value, type) else None
        return Thing(path=tables.SAME.get(path, path), kind=kind)

    def function(self, thing: Thing) -> Function | None:
        """Return the code of a function of the project."""
        return None if thing.value is MISSING else self._world.function(thing.value, thing.owner)


def loaded(path: str) -> Any:
    """Return the object of a dotted name if its module is loaded, else MISSING; imports nothing."""
    parts = path.split(".")
    for number in range(len(parts), 0, -1):
        module = sys.modules.get(".".join(parts[:number]))
        if module is not None:
            value: Any = module
            for part in parts[number:]:
                value = vars(value).get(part, MISSING) if is_a(value, types.ModuleType) else _of(value, part)
            return value
    return MISSING


def _of(value: Any, name: str) -> Any:
    # Only classes are asked: an object may be lazy, and do anything.
    return getattr(value, name, MISSING) if is_a(value, type) else MISSING


def _attribute(thing: Thing, name: str) -> Any:
    if is_a(thing.value, types.ModuleType):
        return vars(thing.value).get(name, sys.modules.get(f"{thing.value.__name__}.{name}", MISSING))
    kind = thing.kind or (thing.value if is_a(thing.value, type) else None)
    value: Any = MISSING if kind is None else inspect.getattr_static(kind, name, MISSING)
    return value.__func__ if is_a(value, (staticmethod, classmethod)) else value


def plain_function(value: Any) -> types.FunctionType | None:
    """Return the function behind methods, properties and decorators."""
    if is_a(value, property):
        value = value.fget
    if is_a(value, types.MethodType):
        value = value.__func__
    try:
        value = inspect.unwrap(value) if is_a(value, types.FunctionType) else value
    except ValueError:  # it wraps itself
        return None
    return value if is_a(value, types.FunctionType) else None


def is_project(file: str) -> bool:
    """Say whether a file is the project's own: no library's, and not ours."""
    parts = Path(file).parts
    if "site-packages" in parts or "dist-packages" in parts:
        return False
    return not file.startswith((*_LIBRARIES, _OURS)) and not file.startswith("<")


def _public(path: str) -> str:
    return path.lstrip("_").replace("posix.", "os.", 1) if path.startswith(("_", "posix.")) else path
