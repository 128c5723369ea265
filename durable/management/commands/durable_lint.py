"""Looks for code that cannot be replayed: ``manage.py durable_lint``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.management.base import CommandError

from durable import analyzer, conf, registry
from durable.core.errors import UnknownWorkflow
from durable.management.base import DurableCommand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.management.base import CommandParser

    from durable.core.definitions import ActivityDefinition, WorkflowDefinition

    Definition = WorkflowDefinition | ActivityDefinition

_STYLES = {"error": "ERROR", "warning": "WARNING", "hint": "NOTICE"}
_GITHUB = {"error": "error", "warning": "warning", "hint": "notice"}


class Command(DurableCommand):
    """Look for workflow code that cannot be replayed; exit with 1 if there is some."""

    help = "Look for workflow code that cannot be replayed; exit with 1 if there is some."
    examples = (
        "durable_lint",
        "durable_lint shop order2",
        "durable_lint --rule DUR002 --rule DUR003",
        "durable_lint --github",
        "durable_lint --list-rules",
    )
    requires_system_checks = ()  # they say the same

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument(
            "targets", nargs="*", metavar="app_label|workflow", help="an app, a workflow or an activity; all otherwise"
        )
        parser.add_argument(
            "--rule",
            action="append",
            default=[],
            choices=sorted(analyzer.RULES),
            metavar="ID",
            help="only this rule; may be given repeatedly",
        )
        parser.add_argument("--json", action="store_true", help="print a JSON array")
        parser.add_argument("--github", action="store_true", help="print annotations for GitHub Actions")
        parser.add_argument("--list-rules", action="store_true", help="print the rules and stop")

    def handle(self, *, targets: list[str], rule: list[str], **options: Any) -> None:
        """Run the command."""
        if options["list_rules"]:
            self._list_rules(as_json=options["json"])
            return
        definitions = _chosen(targets) if targets else _all()
        found = analyzer.analyze_all(definitions, converter=conf.converter())
        findings = [finding for finding in found if not rule or finding.rule in rule]
        if options["json"]:
            self.print_json([_as_json(finding) for finding in findings])
        for finding in () if options["json"] else findings:
            self.stdout.write(_annotation(finding) if options["github"] else self._line(finding))
        if findings:
            raise CommandError(f"{len(findings)} finding{'s' if len(findings) > 1 else ''}", returncode=1)
        self.stderr.write(f"nothing found in {len(definitions)} workflows and activities")

    def _list_rules(self, *, as_json: bool) -> None:
        if as_json:
            self.print_json([{**asdict(rule), "check": rule.check_id} for rule in analyzer.RULES.values()])
            return
        for rule in analyzer.RULES.values():
            self.stdout.write(f"{rule.id}  {rule.severity:<8} {rule.name:<22} {rule.text}")

    def _line(self, finding: analyzer.Finding) -> str:
        style = getattr(self.style, _STYLES[finding.severity])
        place = f"{_shown(finding.file)}:{finding.line}:{finding.column}"
        return f"{place}: {style(finding.rule)} {finding.message}\n    {finding.hint}"


def _all() -> list[Definition]:
    return [*registry.workflows(), *registry.activities()]


def _chosen(targets: list[str]) -> list[Definition]:
    return list({id(each): each for target in targets for each in _named(target)}.values())


def _named(target: str) -> Iterator[Definition]:
    """Yield the definitions of an app, else the workflow or the activity of a name.

    Raises:
        UnknownWorkflow: There is no such thing; the error offers names that look alike.
    """
    if target in apps.app_configs:
        within = f"{apps.app_configs[target].name}."
        yield from (each for each in _all() if f"{each.fn.__module__}.".startswith(within))
        return
    activities = {each.name: each for each in registry.activities()}
    try:
        yield registry.workflow_type(target)
    except UnknownWorkflow:
        if target not in activities:
            raise
    if target in activities:
        yield activities[target]


def _as_json(finding: analyzer.Finding) -> dict[str, Any]:
    return {**asdict(finding), "file": _shown(finding.file), "severity": finding.severity}


def _annotation(finding: analyzer.Finding) -> str:
    rule = analyzer.RULES[finding.rule]
    place = f"file={_escaped(_shown(finding.file))},line={finding.line},col={finding.column}"
    text = _escaped(f"{finding.message}. {finding.hint}", in_property=False)
    return f"::{_GITHUB[finding.severity]} {place},title={_escaped(f'{rule.id} {rule.name}')}::{text}"


def _escaped(text: str, *, in_property: bool = True) -> str:
    for character in "%\r\n:," if in_property else "%\r\n":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _shown(file: str) -> str:
    """Return a path from here, if it is below."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file
