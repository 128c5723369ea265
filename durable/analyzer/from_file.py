"""Tells what names mean from a file alone, as a linter must that imports nothing."""

from __future__ import annotations

import builtins
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from durable.analyzer import tables
from durable.analyzer.things import Function, Role, Thing

if TYPE_CHECKING:
    from durable.analyzer.scopes import Binding

_ACTIVITIES = re.compile(r"\bactivities\.[a-z_]\w*$")
_MODELS = re.compile(r"\bmodels\.[A-Z]\w*$")


class FileNames:
    """Knows the imports of a file, and goes by the names that Django projects use: ``models``, ``activities``."""

    def free(self, name: str) -> Thing | None:
        """Return a builtin; everything else is bound in the file."""
        return Thing(path=f"builtins.{name}") if hasattr(builtins, name) else None

    def imported(self, binding: Binding) -> Thing:
        """Return what an import binds, by its dotted name."""
        path = f"{'.' * binding.level}{binding.imported}"
        if _ACTIVITIES.search(path):
            return Thing(path=path, role=Role.ACTIVITY)
        if _MODELS.search(path) and not tables.is_landmark(path):
            # Whose module it is says that it is a model, and nothing in the file says otherwise.
            return Thing(path="django.db.models.Model")
        return Thing(path=path)

    def member(self, thing: Thing, attribute: str) -> Thing | None:
        """Return an attribute, by its dotted name."""
        path = f"{thing.path}.{attribute}"
        if tables.is_manager(thing.path, attribute):
            return Thing(path=tables.MANAGER)
        return self._activity(path) or Thing(path=tables.SAME.get(path, path))

    def made(self, thing: Thing) -> Thing:
        """Return what a call returns, by its dotted name."""
        path = f"{thing.path}()"
        return replace(thing, path=tables.SAME.get(path, path), value=thing.value)

    def function(self, thing: Thing) -> Function | None:
        """Return None: what stands elsewhere is not read."""
        return None

    def _activity(self, path: str) -> Thing | None:
        return Thing(path=path, role=Role.ACTIVITY) if _ACTIVITIES.search(path) else None
