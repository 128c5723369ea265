"""Reads workflow code and reports what a replay could not repeat, without running any of it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from durable.analyzer import definitions as declared
from durable.analyzer.from_file import FileNames
from durable.analyzer.from_objects import World, plain_function
from durable.analyzer.reading import Report, read
from durable.analyzer.resolving import Resolver
from durable.analyzer.rules import RULES, Finding, Rule, Severity
from durable.analyzer.sources import Sources, parse
from durable.analyzer.things import Function, Role
from durable.core.definitions import WorkflowDefinition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from durable.core.definitions import ActivityDefinition
    from durable.core.payloads import Converter

__all__ = ["RULES", "Finding", "Rule", "Severity", "analyze", "analyze_all", "analyze_source"]


def analyze(
    definition: WorkflowDefinition | ActivityDefinition, *, converter: Converter | None = None
) -> list[Finding]:
    """Return what is wrong with a workflow, or with the declaration of an activity.

    Args:
        definition: What ``defn`` returned.
        converter: The project's; types that nobody could read from JSON are found with it.
    """
    return analyze_all([definition], converter=converter)


def analyze_all(
    definitions: Iterable[WorkflowDefinition | ActivityDefinition], *, converter: Converter | None = None
) -> list[Finding]:
    """Return what is wrong with several; a helper that more than one gets to is read once.

    Args:
        definitions: What ``defn`` returned.
        converter: The project's; types that nobody could read from JSON are found with it.
    """
    world, report = World(Sources()), Report()
    for definition in definitions:
        plain = plain_function(definition.fn)
        function = plain and world.read(plain)
        if function is None:
            continue  # typed into a shell, frozen, or no Python
        is_workflow = isinstance(definition, WorkflowDefinition)
        name = definition.type_name if isinstance(definition, WorkflowDefinition) else definition.name
        has_timeout = None if is_workflow else bool(getattr(definition, "heartbeat", None))
        _declaration(function, report, name, is_workflow=is_workflow, has_timeout=has_timeout)
        for problem in declared.by_signature(function, definition, converter) if converter is not None else ():
            report.add(problem, function.source, name)
    return report.findings()


def analyze_source(text: str, file: str) -> list[Finding]:
    """Return what is wrong with the workflows and activities of one file, which is not imported."""
    source, report = parse(text, file), Report()
    if source is None:
        return []
    resolver = Resolver(source, FileNames(), source.scopes[source.tree])
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            scope = source.scopes[node]
            role = resolver.role(node, scope.parent or scope)
            if role is not None:
                function = Function(node=node, scope=scope, source=source, resolver=resolver)
                _declaration(function, report, node.name, is_workflow=role is Role.WORKFLOW, has_timeout=None)
    return report.findings()


def _declaration(function: Function, report: Report, name: str, *, is_workflow: bool, has_timeout: bool | None) -> None:
    for problem in declared.by_names(function):
        report.add(problem, function.source, name)
    if is_workflow:
        read(function, report, name)
        return
    for problem in declared.heartbeats(function, has_timeout=has_timeout):
        report.add(problem, function.source, name)
    report.read.setdefault(function.node, function.source)
