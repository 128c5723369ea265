"""Bad input."""

from __future__ import annotations

from durable.core.errors.base import DurableError
from durable.core.errors.telling import quoted


class InvalidInput(DurableError):
    """A value cannot be taken.

    Attributes:
        where: What the value was given for, e.g. ``charge(amount)``.
        problem: What is wrong with it.
    """

    def __init__(self, where: str, problem: str) -> None:
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}")


class InvalidId(DurableError):
    """The text cannot be an instance id."""

    def __init__(self, instance_id: object, problem: str) -> None:
        self.instance_id, self.problem = instance_id, problem
        super().__init__(f"{quoted(instance_id, 80)} cannot be an instance id: {problem}")


class InvalidDefinition(DurableError):
    """A function cannot be a workflow or an activity."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"{name}: {problem}")


class PayloadTooLarge(DurableError):
    """A value is larger, as JSON, than the limit.

    Attributes:
        size: Its size in bytes.
        limit: The limit in bytes.
    """

    def __init__(self, where: str, *, size: int, limit: int) -> None:
        self.where, self.size, self.limit = where, size, limit
        super().__init__(f"{where}: {size:,} bytes of JSON, the limit is {limit:,}")


class LimitExceeded(DurableError):
    """A limit of the settings is reached.

    Attributes:
        limit: The name of the limit, a key of ``DURABLE["LIMITS"]``.
        value: What was asked for.
        maximum: What is allowed.
    """

    def __init__(self, limit: str, *, value: int, maximum: int, advice: str = "") -> None:
        self.limit, self.value, self.maximum = limit, value, maximum
        super().__init__(f"{limit}: {value:,} is over the limit of {maximum:,}{'; ' + advice if advice else ''}")


class InvalidHistory(DurableError):
    """An instance's history cannot be one of its workflow.

    Attributes:
        instance_id: Whose history.
        problem: What is wrong with it.
    """

    def __init__(self, instance_id: str, problem: str) -> None:
        self.instance_id, self.problem = instance_id, problem
        super().__init__(f"the history of {instance_id!r} cannot be one of its workflow: {problem}")


class UndecodableEvent(DurableError):
    """A stored event cannot be read.

    Attributes:
        seq: Its place in the history, 1-based.
    """

    def __init__(self, seq: int, kind: str, problem: str) -> None:
        self.seq, self.kind, self.problem = seq, kind, problem
        super().__init__(f"event {seq} ({kind}) cannot be read: {problem}")


class UndecodablePayload(DurableError):
    """A stored payload cannot be read: the codec of the settings cannot decode it, or it is damaged.

    Attributes:
        where: The column, as ``Instance.input``.
        problem: What the codec raised.
    """

    def __init__(self, where: str, problem: str) -> None:
        self.where, self.problem = where, problem
        advice = 'DURABLE["CODEC"] must be able to decode what was stored under earlier settings'
        super().__init__(f"{where} cannot be decoded: {problem}; {advice}")


class InvalidTranscript(DurableError):
    """A line of an export cannot be read.

    Attributes:
        source: The file; empty if it is not from a file.
        line: The line in it, from 1.
        problem: What is wrong with it.
    """

    def __init__(self, source: str, line: int, problem: str) -> None:
        self.source, self.line, self.problem = source, line, problem
        super().__init__(f"{f'{source}, ' if source else ''}line {line} is no transcript: {problem}")
