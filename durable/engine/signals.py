"""Bringing signals and the like to instances, from clients and from workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from durable import activity, conf, dispatch, registry
from durable.core import events as ev
from durable.core.definitions import define_activity
from durable.core.errors import LimitExceeded, NotOpen
from durable.core.retry import RetryPolicy
from durable.engine import intercepting
from durable.interceptors import SignalCall
from durable.models import OPEN, ActivityTask, Instance
from durable.store import inbox, instances, tasks

if TYPE_CHECKING:
    from durable.models import InboxEvent

SEND = "durable.signal"
"""The activity of ours that signals another instance: its write and its completion are one commit."""


def deliver(instance_id: str, event: ev.Event, *, verb: str) -> Instance:
    """Put an event into an open instance's inbox, in the transaction at hand.

    The instance is locked, so that it cannot end between the check and the write.

    Raises:
        UnknownInstance: There is none of this id.
        NotOpen: It has ended; nothing is stored.
        LimitExceeded: Its inbox is full.
    """
    instance = instances.lock(instance_id, payloads=False)
    if instance.status not in OPEN:
        raise NotOpen(instance_id, status=instance.status, verb=verb)
    waiting, maximum = inbox.count(instance.execution_id), conf.limit("inbox")
    if waiting >= maximum:
        raise LimitExceeded("inbox", value=waiting + 1, maximum=maximum, advice="the instance does not keep up")
    row: InboxEvent = inbox.row(instance.execution_id, event)
    inbox.insert([row])
    dispatch.advance_on_commit(instance.queue, instance_id)
    return instance


def bring(call: SignalCall, payload: Any) -> None:
    """Bring a signal to an instance, within the interceptors' hooks, in the transaction at hand.

    Raises:
        UnknownInstance, NotOpen, LimitExceeded: As ``deliver`` does.
        InvalidInput, PayloadTooLarge: The headers cannot be stored.
    """

    def send(headers: dict[str, Any]) -> None:
        event = ev.SignalReceived(name=call.name, payload=payload, headers=headers)
        deliver(call.instance_id, event, verb="take a signal")

    intercepting.signal(call, send)


def send(instance_id: str, name: str, payload: Any) -> None:
    """Signal an instance, as an activity."""
    info = activity.info()
    call = SignalCall(instance_id=instance_id, name=name, headers=dict(info.headers), sender_id=info.instance_id)
    bring(call, payload)


registry.add_activity(
    define_activity(
        send,
        name=SEND,
        atomic=True,
        retry=RetryPolicy(max_attempts=0, max_interval=30, non_retryable=("UnknownInstance", "NotOpen")),
    )
)


def task(instance: Instance, signal: ev.SignalSent) -> ActivityTask:
    """Return the row, not saved, that has a worker send a signal."""
    arguments = {"args": [signal.instance_id, signal.name, signal.payload], "kwargs": {}}
    return tasks.row(instance.execution_id, signal, name=SEND, input=arguments, queue=instance.queue)


def answer(name: str, event: ev.Answer) -> ev.Answer:
    """Return the event that tells of an activity's end, in the words of what was asked for."""
    if name != SEND:
        return event
    if isinstance(event, ev.ActivityFailed):
        return ev.SignalFailed(event_id=event.event_id, failure=event.failure)
    return ev.SignalDelivered(event_id=event.event_id)
