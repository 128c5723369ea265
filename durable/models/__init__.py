"""The rows: instances, their executions and histories, work and inbox, workers.

Rules live in the engine; only ``durable.store`` writes histories and inboxes.
"""

from __future__ import annotations

from durable.models.histories import HistoryEvent, InboxEvent
from durable.models.instances import CLOSED, OPEN, Execution, Instance, Status
from durable.models.operating import BatchItem, Operation, SavedFilter
from durable.models.requests import Answer, Update
from durable.models.work import ActivityTask, Worker

__all__ = [
    "CLOSED",
    "OPEN",
    "ActivityTask",
    "Answer",
    "BatchItem",
    "Execution",
    "HistoryEvent",
    "InboxEvent",
    "Instance",
    "Operation",
    "SavedFilter",
    "Status",
    "Update",
    "Worker",
]
