"""Workflow code logs once, with its ids, and handlers may do what workflows may not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from durable.core import context, stepping
from durable.core.execution import Execution
from durable.core.payloads import Converter
from durable.core.replay import catch_up
from durable.core.replay_log import ReplaySilentAdapter
from tests.core.histories import STARTED, activity, completed, scheduled, workflow

logger = ReplaySilentAdapter(logging.getLogger("tests.replay_log"), {})


@activity
def a() -> Any: ...


@workflow
async def talking2():
    logger.info("began %s", "well")
    await a()
    logger.warning("ended", extra={"mood": "good"})
    logger.debug("too quiet to be heard")
    logger.log(logging.ERROR, "for good", stacklevel=1)


@pytest.fixture
def heard(caplog):
    caplog.set_level(logging.INFO, logger="tests.replay_log")
    return caplog


def execution() -> Execution:
    return Execution(talking2, converter=Converter(), instance_id="i", execution_id="e")


def test_says_what_is_said_live_with_the_ids(heard):
    live = execution()
    stepping.step(live, STARTED)
    stepping.step(live, completed(0))

    assert [record.getMessage() for record in heard.records] == ["began well", "ended", "for good"]
    assert {(r.instance_id, r.execution_id, r.workflow) for r in heard.records} == {("i", "e", "talking2")}
    assert {(r.version, r.queue) for r in heard.records} == {(2, "")}
    assert heard.records[1].mood == "good"


def test_is_silent_about_what_was_said_before(heard):
    live = execution()

    catch_up(live, [STARTED, scheduled(0, "a")])
    assert heard.records == []

    stepping.step(live, completed(0))
    assert [record.getMessage() for record in heard.records] == ["ended", "for good"]


def test_says_from_where_it_was_said(heard):
    live = execution()
    stepping.step(live, STARTED)
    stepping.step(live, completed(0))

    assert {record.funcName for record in heard.records} == {"talking2"}
    assert {record.pathname for record in heard.records} == {__file__}


def test_handlers_run_as_if_no_workflow_ran(heard):
    seen = []

    class Looking(logging.Handler):
        def emit(self, record):
            seen.append((context.running(), asyncio._get_running_loop()))

    handler = Looking()
    logger.logger.addHandler(handler)
    try:
        live = execution()
        stepping.step(live, STARTED)
    finally:
        logger.logger.removeHandler(handler)

    assert seen == [(None, None)]
    assert len(live.open) == 1


def test_works_outside_workflows(heard):
    logger.info("by the way")

    assert [record.getMessage() for record in heard.records] == ["by the way"]
    assert not hasattr(heard.records[0], "instance_id")
