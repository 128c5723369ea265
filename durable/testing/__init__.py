"""The test kit: run workflows and activities in tests."""

from __future__ import annotations

from durable.testing.environment import ActivityEnvironment
from durable.testing.workers import Stuck, Worker, run_worker

__all__ = ["ActivityEnvironment", "Stuck", "Worker", "run_worker"]
