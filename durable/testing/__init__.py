"""The test kit: run workflows and activities in tests."""

from __future__ import annotations

from durable.testing.environment import ActivityEnvironment
from durable.testing.golden import replay
from durable.testing.histories import History, history_of
from durable.testing.matchers import ANY, matching
from durable.testing.mocks import Mock
from durable.testing.outcome import Simulated, SimulatedExecution
from durable.testing.problems import (
    ExpectationFailed,
    LeftOpen,
    NeverAwaited,
    RunawaySimulation,
    SimulationError,
    UnexpectedCall,
    UnknownCall,
    WorkflowBlocked,
)
from durable.testing.simulation import Simulation, simulate
from durable.testing.tasks import Call
from durable.testing.workers import Stuck, Worker, run_worker

__all__ = [
    "ANY",
    "ActivityEnvironment",
    "Call",
    "ExpectationFailed",
    "History",
    "LeftOpen",
    "Mock",
    "NeverAwaited",
    "RunawaySimulation",
    "Simulated",
    "SimulatedExecution",
    "Simulation",
    "SimulationError",
    "Stuck",
    "UnexpectedCall",
    "UnknownCall",
    "Worker",
    "WorkflowBlocked",
    "history_of",
    "matching",
    "replay",
    "run_worker",
    "simulate",
]
