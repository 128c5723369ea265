"""System checks, tag ``durable``."""

from __future__ import annotations
