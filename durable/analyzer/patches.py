"""The rule about patches that one workflow asks for in more than one place."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from durable.analyzer import rules, tables
from durable.analyzer.places import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.analyzer.places import Place

_CALLS = {f"{tables.WORKFLOW}.{name}": name for name in ("patched", "deprecate_patch")}


class Patches:
    """The patches that a workflow was seen to ask for: each by which function, and where first."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[str, str]] = {}

    def reused(self, node: ast.AST, at: Place) -> Iterator[Problem]:
        """Report a call with the id of another one, unless both deprecate it; calls are read in any order."""
        if not isinstance(node, ast.Call) or (name := _CALLS.get(at.path(node.func))) is None:
            return
        given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "patch_id")]
        match given:
            case [ast.Constant(value=str() as patch_id)]:
                place = f"{at.function.source.file}:{node.lineno}"
                other, where = self._asked.setdefault(patch_id, (name, place))
                if where != place and (name, other) != ("deprecate_patch", "deprecate_patch"):
                    yield _problem(node, patch_id, where, other, differ=name != other)


def _problem(node: ast.Call, patch_id: str, where: str, other: str, *, differ: bool) -> Problem:
    if differ:
        why = "and the two contradict each other: the instance stalls"
        hint = "Deprecate a patch in all its places at once, and give another change an id of its own."
    else:
        why = "and an execution that got its answer there gets the same one here"
        hint = ""
    message = f"patch {patch_id!r} is used here and by {other}() at {where}, {why}"
    return Problem(rule=rules.PATCH, node=node, message=message, hint=hint)
