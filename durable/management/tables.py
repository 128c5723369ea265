"""Tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

Row = tuple[Sequence[str], str]
"""The cells, and a note that stands below them."""


def aligned(titles: Sequence[str], rows: Sequence[Row]) -> str:
    """Return a table with its titles, or nothing if it has no rows."""
    if not rows:
        return ""
    cells = [titles, *(row for row, _ in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    notes = ["", *(note for _, note in rows)]
    return "".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        + (f"{indent(note.rstrip(), '    ')}\n" if note else "")
        for row, note in zip(cells, notes, strict=True)
    )
