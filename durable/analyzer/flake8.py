"""The rules as a plugin of flake8: one file at a time, importing none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import __version__
from durable.analyzer import analyze_source

if TYPE_CHECKING:
    from collections.abc import Iterator


class Plugin:
    """What flake8 makes for each file."""

    name = "durable"
    version = __version__

    def __init__(self, tree: object, filename: str, lines: list[str]) -> None:
        """Take a file.

        Args:
            tree: The parsed file: flake8 runs a plugin once a file if it asks for this.
            filename: Its path.
            lines: Its text.
        """
        self._filename, self._lines = filename, lines

    def run(self) -> Iterator[tuple[int, int, str, type[Any]]]:
        """Yield line, column from 0, text and plugin for each finding."""
        for finding in analyze_source("".join(self._lines), self._filename):
            yield finding.line, finding.column - 1, f"{finding.rule} {finding.message}. {finding.hint}", type(self)
