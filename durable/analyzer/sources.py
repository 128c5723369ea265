"""Python files as the analyzer reads them: parsed once, with their comments that silence rules."""

from __future__ import annotations

import ast
import io
import linecache
import re
import tokenize
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from durable.analyzer.scopes import Callable_, Scope, scopes

_MARK = re.compile(r"#\s*durable:\s*ignore\b(?:\[(?P<ids>[^\]]*)\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """A comment that silences rules on its line.

    Attributes:
        ids: The rules; all if there are none.
        column: Of the comment, from 1.
    """

    ids: tuple[str, ...]
    line: int
    column: int


@dataclass(eq=False)
class Source:
    """A parsed file."""

    file: str
    text: str
    tree: ast.Module
    ignores: dict[int, Ignore] = field(default_factory=dict)

    @cached_property
    def scopes(self) -> dict[ast.AST, Scope]:
        """The scope that each module, class, function and comprehension opens."""
        return scopes(self.tree)

    @cached_property
    def functions(self) -> dict[tuple[str, int], Callable_]:
        """The functions by name and first line, as code objects know them."""
        found: dict[tuple[str, int], Callable_] = {}
        for node in self.scopes:  # all that open one; to walk the tree once more takes longer than all the rest
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[node.name, first] = node
            elif isinstance(node, ast.Lambda):
                found.setdefault(("<lambda>", node.lineno), node)
        return found


def parse(text: str, file: str) -> Source | None:
    """Return a parsed file, or None if it is no Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    return Source(file=file, text=text, tree=tree, ignores=_ignores(text))


class Sources:
    """The files read so far, each parsed once."""

    def __init__(self) -> None:
        self._read: dict[str, Source | None] = {}

    def __iter__(self) -> Any:
        return (source for source in self._read.values() if source is not None)

    def add(self, source: Source) -> None:
        """Take a file that was parsed elsewhere."""
        self._read[source.file] = source

    def get(self, file: str, names: dict[str, Any]) -> Source | None:
        """Return a file, or None if it cannot be read: code typed into a shell, or frozen.

        Args:
            names: A module's names, by which its loader is found if the file is in an archive.
        """
        if file not in self._read:
            linecache.checkcache(file)
            text = "".join(linecache.getlines(file, names))
            self._read[file] = parse(text, file) if text else None
        return self._read[file]


def _ignores(text: str) -> dict[int, Ignore]:
    if not _MARK.search(text):
        return {}
    found = {}
    # Not line by line: the same words in a text are no comment.
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and (match := _MARK.search(token.string)):
            line, start = token.start
            ids = (match["ids"] or "").replace(",", " ").split()
            found[line] = Ignore(ids=tuple(ids), line=line, column=start + match.start() + 1)
    return found
