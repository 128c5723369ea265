"""The rules of workflow code, and what is reported when one is broken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """It is refused, or a replay goes another way than the first run did."""
    WARNING = "warning"
    """It goes well today, and hurts some day."""
    HINT = "hint"
    """There is something better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of workflow code.

    Attributes:
        id: ``DUR`` and three digits; never given to another rule.
        name: Its short name, for lists.
        text: What it says, in one sentence.
        hint: What to do instead, where the finding knows nothing better.
    """

    id: str
    name: str
    text: str
    hint: str
    severity: Severity = Severity.ERROR

    @property
    def check_id(self) -> str:
        """The id of its system check: ``durable.W103`` for DUR003."""
        return f"durable.W1{self.id[-2:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A place in the code that breaks a rule.

    Attributes:
        rule: The rule's id.
        message: What is wrong, and why.
        hint: What to do instead.
        line, column: From 1.
        workflow: The workflow that gets there, or the activity; empty for what is true of the file.
    """

    rule: str
    message: str
    hint: str
    file: str
    line: int
    column: int
    workflow: str

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return RULES[self.rule].severity

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.rule} {self.message}"


BLOCKING, CLOCK, RANDOM, ENVIRONMENT, SETTINGS = "DUR001", "DUR002", "DUR003", "DUR004", "DUR005"
DATABASE, CACHE, FILES, NETWORK, THREADS = "DUR006", "DUR007", "DUR008", "DUR009", "DUR010"
OTHER_LOOP, SHARED_STATE, SET_ORDER, IDENTITY, UNAWAITED = "DUR011", "DUR012", "DUR013", "DUR014", "DUR015"
SWALLOWED, BUSY_LOOP, ENDLESS_LOOP, QUERY, LOGGING = "DUR016", "DUR017", "DUR018", "DUR019", "DUR020"
ANNOTATION, HEARTBEAT, UNUSED_IGNORE, UNKNOWN_IGNORE = "DUR021", "DUR022", "DUR023", "DUR024"
PAST_HISTORY, PATCH = "DUR025", "DUR026"

_ALL = (
    Rule(
        id=BLOCKING,
        name="blocking call",
        text="Workflow code does not block its thread.",
        hint="Wait with await asyncio.sleep(); what takes long belongs in an activity.",
    ),
    Rule(
        id=CLOCK,
        name="clock",
        text="Workflow code does not read the clock.",
        hint="Use workflow.now() or workflow.time(), which replay repeats.",
    ),
    Rule(
        id=RANDOM,
        name="randomness",
        text="Workflow code draws no random numbers of its own.",
        hint="Use workflow.random() or workflow.uuid4(), which replay repeats.",
    ),
    Rule(
        id=ENVIRONMENT,
        name="environment",
        text="Workflow code does not look at the process or the machine that it runs in.",
        hint="Pass it in as an argument, or read it in workflow.side_effect(), which records it.",
    ),
    Rule(
        id=SETTINGS,
        name="settings",
        text="Workflow code does not read Django's settings.",
        hint="Read the setting in workflow.side_effect() or in an activity, which record it.",
        severity=Severity.WARNING,
    ),
    Rule(
        id=DATABASE,
        name="database",
        text="Workflow code does not use the database.",
        hint="Do it in an activity; with atomic=True its writes and its completion are one commit.",
    ),
    Rule(
        id=CACHE,
        name="cache",
        text="Workflow code does not use Django's cache.",
        hint="Do it in an activity.",
    ),
    Rule(
        id=FILES,
        name="files",
        text="Workflow code does not touch files.",
        hint="Do it in an activity.",
    ),
    Rule(
        id=NETWORK,
        name="network",
        text="Workflow code does not talk to other systems.",
        hint="Do it in an activity.",
    ),
    Rule(
        id=THREADS,
        name="threads and processes",
        text="Workflow code starts no threads and no processes.",
        hint="Run activities side by side with asyncio.gather() or a TaskGroup.",
    ),
    Rule(
        id=OTHER_LOOP,
        name="leaving the loop",
        text="Workflow code stays on the workflow's event loop.",
        hint="Await what is async; what is not belongs in an activity.",
    ),
    Rule(
        id=SHARED_STATE,
        name="shared state",
        text="Workflow code changes nothing that outlives it in the process.",
        hint="Keep it in a local variable; what instances share belongs in the database, through an activity.",
    ),
    Rule(
        id=SET_ORDER,
        name="order of a set",
        text="Workflow code does not depend on the order of a set.",
        hint="Iterate over sorted(...), or keep a list or a dict.",
    ),
    Rule(
        id=IDENTITY,
        name="id and hash",
        text="Workflow code does not use id() or hash().",
        hint="Use a key of your own, such as a primary key or an index.",
    ),
    Rule(
        id=UNAWAITED,
        name="not awaited",
        text="What workflow code calls is awaited.",
        hint="Await it, or keep it in a task: asyncio.create_task(...).",
    ),
    Rule(
        id=SWALLOWED,
        name="swallowed cancellation",
        text="Workflow code does not swallow every exception.",
        hint="Catch Exception, or raise again when done.",
    ),
    Rule(
        id=BUSY_LOOP,
        name="busy loop",
        text="A loop that waits for something awaits.",
        hint="Wait with await workflow.wait_until(lambda: ...), or await asyncio.sleep() in the loop.",
    ),
    Rule(
        id=ENDLESS_LOOP,
        name="endless loop",
        text="A workflow that runs for ever continues as new.",
        hint="Call workflow.continue_as_new(...) once workflow.info().history_length grows large.",
        severity=Severity.WARNING,
    ),
    Rule(
        id=QUERY,
        name="query that acts",
        text="Queries and validators look and do not touch.",
        hint="Do it in an update or upon a signal.",
    ),
    Rule(
        id=LOGGING,
        name="logging",
        text="Workflow code logs through workflow.logger.",
        hint="Use workflow.logger: it is silent on replay, and carries the instance's id.",
        severity=Severity.HINT,
    ),
    Rule(
        id=ANNOTATION,
        name="annotation",
        text="What workflows and activities take and return has a JSON form.",
        hint="Pass an id or a dataclass, or give the type a converter (DURABLE['CONVERTER']).",
    ),
    Rule(
        id=HEARTBEAT,
        name="heartbeat",
        text="An activity that heartbeats has a heartbeat timeout.",
        hint="Add @activity.defn(heartbeat=...), at least twice the time between two heartbeats.",
        severity=Severity.WARNING,
    ),
    Rule(
        id=UNUSED_IGNORE,
        name="ignore without effect",
        text="A comment that silences a rule silences something.",
        hint="Remove the comment.",
        severity=Severity.HINT,
    ),
    Rule(
        id=UNKNOWN_IGNORE,
        name="ignore of no rule",
        text="A comment that silences rules names rules.",
        hint="manage.py durable_lint --list-rules lists them.",
        severity=Severity.HINT,
    ),
    Rule(
        id=PAST_HISTORY,
        name="past the history",
        text="Workflow code awaits activities and children.",
        hint="Await it: await charge(...).",
    ),
    Rule(
        id=PATCH,
        name="patch in two places",
        text="Each change of a workflow has a patch id of its own, asked for in one place.",
        hint="Give a second change an id of its own; for one change in two places, ask once and keep the answer.",
        severity=Severity.WARNING,
    ),
)

RULES = {rule.id: rule for rule in _ALL}
"""Every rule, by its id."""
