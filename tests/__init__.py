"""The tests of durable."""

from __future__ import annotations
