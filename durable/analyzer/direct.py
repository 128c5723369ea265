"""The rule about activities and children that are called past the history."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from durable.analyzer import rules, tables
from durable.analyzer.places import Problem
from durable.analyzer.things import MISSING, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.analyzer.places import Place
    from durable.analyzer.things import Thing


def past_the_history(node: ast.AST, at: Place) -> Iterator[Problem]:
    """Report plain functions of activities, and children started as if from outside, also where they are handed on."""
    if not isinstance(node, ast.Call):
        return
    yield from _problem(node.func, node, at)
    if at.path(node.func) != tables.SIDE_EFFECT:
        for given in (*node.args, *(keyword.value for keyword in node.keywords)):
            yield from _problem(given, given, at)


def _is_guess(owner: Thing) -> bool:
    """Say whether something is taken for an activity by the name of its module alone."""
    return owner.value is MISSING and owner.node is None


def _problem(named: ast.expr, node: ast.expr, at: Place) -> Iterator[Problem]:
    thing = at.thing(named) if isinstance(named, ast.Attribute | ast.Name) else None
    if thing is None or thing.owner is None:
        return
    if _is_guess(thing.owner) and not isinstance(at.parent, ast.Expr):
        return  # it may be an object whose method of this name is an activity, awaited by who gets the call
    definition, _, attribute = (ast.unparse(named) if isinstance(named, ast.Attribute) else thing.path).rpartition(".")
    match thing.owner.role, thing.path.rpartition(".")[2]:
        case Role.ACTIVITY, "run":
            yield Problem(
                rule=rules.PAST_HISTORY,
                node=node,
                message=f"{definition}.{attribute}() runs the activity in the workflow itself: it is not recorded, "
                "and each replay does it again",
                hint=f"Await the activity: await {definition}(...).",
            )
        case Role.WORKFLOW, "start":
            yield Problem(
                rule=rules.PAST_HISTORY,
                node=node,
                message=f"{definition}.{attribute}() is for code outside of workflows, and raises in one",
                hint=f"Await the child, or start it with {definition}.start_child(...).",
            )
