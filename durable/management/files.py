"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from django.core.management.base import CommandError

from durable.management.base import INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def written(path: str) -> Iterator[IO[str]]:
    """Open a file to write, which takes its name when the block ends well; readable by its owner only.

    Raises:
        CommandError: There is no such folder, or nothing can be written there.
    """
    target = Path(path)
    try:
        number, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", returncode=INPUT) from None
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            yield file
        Path(draft).replace(target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
