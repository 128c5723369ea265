"""Previews and outcomes of verbs, as text."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from durable.operations.shapes import Outcome, Preview, Step

_MANY = 20
_STEPS = {"keep": "kept", "run again": "rerun", "wait on": "rearmed", "drop": "dropped"}


def described(preview: Preview) -> str:
    """Return what a verb would do, a line for each step."""
    if not preview.allowed:
        return f"{preview.instance_id}: {preview.verb} is refused: {preview.refusal}"
    does = [line for name, steps in _STEPS.items() for line in _steps(name, getattr(preview, steps))]
    would = "would" if does else "would be done"
    lines = [f"{preview.instance_id}: {preview.verb}, on version {preview.version}, {would}", *does, *_notes(preview)]
    lines += [indent(described(child), "  ") for child in preview.children]
    return "\n".join(lines)


def _notes(preview: Preview) -> Iterator[str]:
    if preview.signals_dropped:
        yield f"  need these signals again: {', '.join(preview.signals_dropped)}"
    yield from (f"  note: {warning}" for warning in preview.warnings)


def _steps(word: str, steps: Sequence[Step]) -> Iterator[str]:
    if len(steps) > _MANY:
        yield f"  {word:<10} {steps[0].event_id:>5} to {steps[-1].event_id}, {len(steps):,} steps"
        return
    for step in steps:
        yield f"  {word:<10} {step.event_id:>5}  {step.kind}({step.name})".replace("()", "")


def done(outcome: Outcome, verb: str) -> str:
    """Return what a verb did."""
    lines = [f"{outcome.instance_id}: {verb}, in execution {outcome.execution_id}"]
    if outcome.advice:
        lines.append(f"  note: {outcome.advice}")
    lines += [indent(done(child, verb), "  ") for child in outcome.children]
    return "\n".join(lines)
