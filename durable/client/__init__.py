"""Start, look at and operate instances: every verb a function.

A ``Handle`` has the same verbs as methods.
"""

from __future__ import annotations

from durable.client.ask import aquery, query
from durable.client.batches import BatchOutcome, BatchReport, batch, batch_report, batch_retry
from durable.client.change import aupdate, update
from durable.client.comparing import Compared, ComparedEvent, Comparison, compare
from durable.client.explaining import explain
from durable.client.handle import Handle, get
from durable.client.imagining import WhatIf, what_if
from durable.client.items import HistoryItem
from durable.client.lineage import Lineage, Relative, lineage
from durable.client.operate import (
    cancel,
    complete_activity,
    fail_activity,
    resume,
    signal,
    suspend,
    terminate,
)
from durable.client.purge import purge
from durable.client.read import history, instance, result, status
from durable.client.repair import recover, rewind, upgrade
from durable.client.rerun import rerun_from_activity
from durable.client.restart import restart
from durable.client.restore import restore
from durable.client.start import astart, start, start_definition
from durable.client.whys import Why, why
from durable.core.explaining import Explanation, OpenCommand, Raised, TaskStack
from durable.core.shown import Frame
from durable.core.waits import Wait
from durable.operations.facts import LeaseFacts, QueueFacts, TaskFacts
from durable.operations.failing import FailureGroup, failure_groups
from durable.operations.purge import Purged
from durable.operations.reasons import Reason
from durable.operations.recovered import Busy, Failed, RecoveryReport, Resumed, Stalled, Terminal
from durable.operations.shapes import UNSET, Args, Outcome, Preview, Step
from durable.operations.versions import VersionUse, versions

__all__ = [
    "UNSET",
    "Args",
    "BatchOutcome",
    "BatchReport",
    "Busy",
    "Compared",
    "ComparedEvent",
    "Comparison",
    "Explanation",
    "Failed",
    "FailureGroup",
    "Frame",
    "Handle",
    "HistoryItem",
    "LeaseFacts",
    "Lineage",
    "OpenCommand",
    "Outcome",
    "Preview",
    "Purged",
    "QueueFacts",
    "Raised",
    "Reason",
    "RecoveryReport",
    "Relative",
    "Resumed",
    "Stalled",
    "Step",
    "TaskFacts",
    "TaskStack",
    "Terminal",
    "VersionUse",
    "Wait",
    "WhatIf",
    "Why",
    "aquery",
    "astart",
    "aupdate",
    "batch",
    "batch_report",
    "batch_retry",
    "cancel",
    "compare",
    "complete_activity",
    "explain",
    "fail_activity",
    "failure_groups",
    "get",
    "history",
    "instance",
    "lineage",
    "purge",
    "query",
    "recover",
    "rerun_from_activity",
    "restart",
    "restore",
    "result",
    "resume",
    "rewind",
    "signal",
    "start",
    "start_definition",
    "status",
    "suspend",
    "terminate",
    "update",
    "upgrade",
    "versions",
    "what_if",
    "why",
]
