"""The errors, under their public name."""

from __future__ import annotations

from durable.core.errors import *  # noqa: F403
from durable.core.errors import __all__  # noqa: F401
