"""Which cells of a large table are tried: a sample that is the same each time, or all that there are."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from itertools import product
from typing import TypeVar

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
"""Whether to try all of them."""

Row = TypeVar("Row")
Column = TypeVar("Column")


def cells(
    rows: Iterable[Row], columns: Iterable[Column], *, every: int = 4, always: Collection[Column] = ()
) -> Iterator[tuple[Row, Column]]:
    """Yield pairs of a table, in diagonals: each row and each column has its share, none has the same as its neighbour.

    Args:
        every: How much is left out: 4 keeps a quarter.
        always: The columns that are kept whole.
    """
    for (at, row), (number, column) in product(enumerate(rows), enumerate(columns)):
        if THOROUGH or column in always or (at + number) % every == 0:
            yield row, column
