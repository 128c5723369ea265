"""Durable workflows for Django.

Write workflows with ``durable.workflow`` and ``durable.activity``; operate
them with ``durable.client``, the admin or the command line.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from durable.core.errors import *  # noqa: F403 - every error is public; errors.__all__ lists them
from durable.core.errors import __all__ as _errors
from durable.core.retry import RetryPolicy

try:
    __version__ = version("django-durable-workflows")
except PackageNotFoundError:  # a checkout on the path, not installed
    __version__ = "0"

__all__ = [*_errors, "RetryPolicy"]  # noqa: PLE0604 - all strings
