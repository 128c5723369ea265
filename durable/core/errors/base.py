"""What all errors are."""

from __future__ import annotations

from typing import Any


class DurableError(Exception):
    """Any error that this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Fields are keyword arguments of the constructor, so the default
        # protocol could not rebuild the error in another process.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[DurableError], args: tuple[Any, ...], fields: dict[str, Any]) -> DurableError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error
