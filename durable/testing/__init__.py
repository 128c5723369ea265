"""The test kit: run workflows and activities in tests."""

from __future__ import annotations

from durable.testing.environment import ActivityEnvironment

__all__ = ["ActivityEnvironment"]
