"""Reads RECORD files and compares what they say with what is there."""

from __future__ import annotations

import base64
import csv
import hashlib
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A distribution to verify.

    Attributes:
        files: How many lines its RECORD has.
    """

    name: str
    version: str
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a RECORD file.

    Attributes:
        algorithm, digest: The hash; both empty if the line has none.
    """

    path: str
    algorithm: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file that is not what RECORD says."""

    path: str
    kind: str
    expected: str
    found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What came of some lines of a RECORD file."""

    verified: int = 0
    unhashed: int = 0
    size: int = 0
    problems: tuple[Problem, ...] = ()

    def __add__(self, other: Verified) -> Verified:
        return Verified(
            verified=self.verified + other.verified,
            unhashed=self.unhashed + other.unhashed,
            size=self.size + other.size,
            problems=self.problems + other.problems,
        )


def packages() -> list[Package]:
    """Return the installed distributions that have a RECORD, by name; of doubles, the one that is imported."""
    found: dict[str, Package] = {}
    for distribution in metadata.distributions():
        lines = sum(1 for _ in _lines(distribution))
        if lines and distribution.name not in found:
            found[distribution.name] = Package(name=distribution.name, version=distribution.version, files=lines)
    return sorted(found.values(), key=lambda package: package.name.lower())


def verify(name: str, start: int, stop: int) -> Verified:
    """Compare the files in the lines ``start`` to ``stop`` (0-based, exclusive) of a distribution's RECORD."""
    distribution = metadata.distribution(name)
    total = Verified()
    for number, line in enumerate(_lines(distribution)):
        if start <= number < stop:
            total += _compare(line, distribution.locate_file(line.path))  # type: ignore[arg-type]
    return total


def _lines(distribution: metadata.Distribution) -> Iterator[Line]:
    for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        if row:
            algorithm, _, digest = row[1].partition("=")
            yield Line(path=row[0], algorithm=algorithm, digest=digest)


def _compare(line: Line, path: Path) -> Verified:
    if not line.digest:
        return Verified(unhashed=1)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Verified(verified=1, problems=(Problem(path=line.path, kind="missing", expected=line.digest),))
    except OSError as error:
        problem = Problem(path=line.path, kind="unreadable", expected=line.digest, found=type(error).__name__)
        return Verified(verified=1, problems=(problem,))
    digest = base64.urlsafe_b64encode(hashlib.new(line.algorithm, content).digest()).rstrip(b"=").decode()
    if digest == line.digest:
        return Verified(verified=1, size=len(content))
    problem = Problem(path=line.path, kind="changed", expected=line.digest, found=digest)
    return Verified(verified=1, size=len(content), problems=(problem,))
