"""How the demo talks: in colour on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from durable.management import timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TextIO

    from durable.client.steps import Step

    from .invariants import Invariant

    Meter = Callable[[float, float, str], None]

_BAR = 44
_OTHER_COLUMNS = 70
_SHOWN = 10
_COLOURS = {"activity": "cyan", "timer": "yellow", "child": "magenta"}


class Narrator:
    """Tells what happens.

    Args:
        file: Where to; None is standard output.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.console = Console(file=file, highlight=False)
        if not self.console.is_terminal:
            # Tables would be folded to the 80 columns of a terminal that is not there.
            self.console = Console(file=file, highlight=False, width=118)

    def chapter(self, title: str, about: str) -> None:
        """Begin a part."""
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left")
        if about:
            self.console.print(f"[dim]{about}", soft_wrap=True)
        self.console.print()

    def fact(self, text: str) -> None:
        """Say something that is well."""
        self.console.print(f"[green]✓[/] {text}", soft_wrap=True)

    def crash(self, text: str) -> None:
        """Say that something was broken on purpose."""
        self.console.print(f"[bold red]✗ {text}", soft_wrap=True)

    def note(self, text: str) -> None:
        """Say something else."""
        self.console.print(f"  {text}", soft_wrap=True)

    @contextlib.contextmanager
    def meter(self, what: str) -> Iterator[Meter]:
        """Give a function ``(done, total, note)`` that shows how far something is."""
        if not self.console.is_terminal:
            yield self._lines(what)
            return
        columns = [
            TextColumn("  {task.description}"),
            BarColumn(bar_width=_BAR),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        ]
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(what, total=None, note="")
            yield lambda done, total, note: progress.update(task, completed=done, total=total or None, note=note)

    def _lines(self, what: str) -> Meter:
        last = -1

        def say(done: float, total: float, note: str) -> None:
            nonlocal last
            fifth = int(5 * done / total) if total else last
            if fifth > last:
                last = fifth
                self.note(f"{what}: {done:,.0f} of {total:,.0f} {note}".rstrip())

        return say

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
        """Show a table; numbers stand to the right."""
        filled = [list(row) for row in rows]
        table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for number, heading in enumerate(headings):
            figures = bool(filled) and all(isinstance(row[number], int | float) for row in filled)
            table.add_column(heading, justify="right" if figures else "left")
        for row in filled:
            table.add_row(*(f"{cell:,}" if isinstance(cell, int) else Text.from_markup(str(cell)) for cell in row))
        self.console.print(table)

    def timeline(self, steps: Sequence[Step], *, title: str) -> None:
        """Show when the steps of an instance began and ended."""
        total = timeline.span(steps)
        width = max(10, min(_BAR, self.console.width - _OTHER_COLUMNS))
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("#", justify="right")
        table.add_column("what", no_wrap=True)
        table.add_column("took", justify="right", no_wrap=True)
        table.add_column(f"0 s{f'{total:.1f} s':>{width - 3}}", no_wrap=True)
        table.add_column("tries", justify="right")
        table.add_column("end", no_wrap=True)
        for step in steps:
            began, ended = timeline.times(step, steps[0].began)
            table.add_row(
                "" if step.event_id is None else str(step.event_id),
                f"{step.kind} {step.name}".strip(),
                "" if step.seconds is None else f"{step.seconds:.2f} s",
                Text(timeline.bar(began, ended, total, width), style=_COLOURS.get(step.kind, "white")),
                "" if step.attempts is None else Text(str(step.attempts), style="bold" if step.attempts > 1 else ""),
                step.outcome,
            )
        self.console.print(table)

    def invariants(self, invariants: Iterable[Invariant]) -> bool:
        """Show what had to hold; say whether it did."""
        well = True
        for invariant in invariants:
            if invariant.holds:
                self.fact(invariant.sentence)
                continue
            well = False
            self.crash(f"NOT SO: {invariant.sentence}")
            for line in invariant.against[:_SHOWN]:
                self.note(line)
            if len(invariant.against) > _SHOWN:
                self.note(f"... and {len(invariant.against) - _SHOWN} more")
        return well
