"""A Celery app gets the settings that suit durable, where it has none of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from celery import Celery, signals
from django.core.exceptions import ImproperlyConfigured
from kombu.asynchronous import Hub

from durable import checks, tasks, worker
from durable.engine import running
from durable.sweeper import Sweeper


class Given:
    CELERY_WORKER_PREFETCH_MULTIPLIER = 4


def app(**conf):
    made = Celery("test", set_as_current=False)
    made.config_from_object(Given, namespace="CELERY")
    made.conf.update(conf)
    return made


def test_recommended_settings_stand_in_for_what_the_app_does_not_set():
    made = worker.configure(app())

    assert made.conf.worker_soft_shutdown_timeout == 15
    assert made.conf.get("CELERY_DB_REUSE_MAX") == made.conf.get("db_reuse_max") == 100_000


def test_what_the_app_sets_is_kept_even_if_it_is_celerys_own_default():
    made = worker.configure(app(worker_soft_shutdown_timeout=0.0))

    assert made.conf.worker_prefetch_multiplier == 4
    assert made.conf.worker_soft_shutdown_timeout == 0


def test_an_app_that_read_its_settings_already_is_configured_as_well():
    made = app()
    assert made.conf.worker_soft_shutdown_timeout == 0

    worker.configure(made)

    assert made.conf.worker_soft_shutdown_timeout == 15


@pytest.mark.parametrize(
    ("engine", "options", "is_found"),
    [
        ("postgresql", {}, False),
        ("postgresql", {"isolation_level": 2, "options": "-c search_path=x"}, False),
        ("postgresql", {"isolation_level": 3}, True),
        ("postgresql", {"isolation_level": "serializable"}, False),
        ("postgresql", {"options": "-c default_transaction_isolation=serializable"}, True),
        ("mysql", {}, False),
        ("mysql", {"isolation_level": "repeatable read"}, True),
        ("sqlite3", {"transaction_mode": "IMMEDIATE"}, False),
    ],
)
def test_check_tells_that_transactions_do_not_see_what_others_committed(monkeypatch, engine, options, is_found):
    databases = {"default": {"ENGINE": f"django.db.backends.{engine}", "OPTIONS": options}}
    monkeypatch.setattr(checks, "django_settings", SimpleNamespace(DATABASES=databases, USE_TZ=True))

    assert ["durable.W004"] * is_found == [found.id for found in checks.check_database()]


def test_worker_can_be_imported_before_the_models_are_loaded():
    code = "import durable.worker, celery; durable.worker.configure(celery.Celery('early'))"

    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("broker", ["redis://host/0", "rediss://host/0", "sentinel://host:26379", "amqp://host//"])
def test_redis_is_waited_for_no_longer_than_for_other_brokers(broker, monkeypatch):
    made = app(broker_url=broker, broker_transport_options={"visibility_timeout": 3600})
    monkeypatch.setattr(checks, "current_app", made)
    is_redis = not broker.startswith("amqp")
    assert ("durable.W011" in [found.id for found in checks.check_celery()]) is is_redis

    worker.configure(made)

    assert made.conf.broker_transport_options["visibility_timeout"] == 3600
    assert ("socket_timeout" in made.conf.broker_transport_options) is is_redis
    assert "durable.W011" not in [found.id for found in checks.check_celery()]


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_worker_of_greenlets_says_so_and_does_nothing(pool, monkeypatch, caplog):
    monkeypatch.setattr(running, "_refused", [])
    kind = type("TaskPool", (), {"__module__": f"celery.concurrency.{pool}"})
    sweeper = Sweeper(None)

    sweeper.start(SimpleNamespace(pool=kind(), app=app()))
    sweeper.stop(None)

    assert "durable does not run on gevent or eventlet" in caplog.text
    with pytest.raises(ImproperlyConfigured, match="--pool=threads"):
        tasks.advance("one")


@pytest.mark.parametrize(
    ("pool", "broker", "sleeps"),
    [("solo", "amqp", 0), ("threads", "amqp", 0), ("prefork", "amqp", 1), ("solo", "redis", 1)],
)
def test_what_a_task_left_to_celerys_loop_is_done_before_it_sleeps(pool, broker, sleeps):
    connection = SimpleNamespace(transport=SimpleNamespace(driver_type=broker))
    kind = type("TaskPool", (), {"__module__": f"celery.concurrency.{pool}"})
    hub, sweeper = Hub(), Sweeper(None)
    broker_end, our_end = socket.socketpair()
    hub.add_reader(our_end, pytest.fail)
    sweeper.register_with_event_loop(SimpleNamespace(pool=kind(), consumer=SimpleNamespace(connection=connection)), hub)
    slept: list[float] = []
    before_acknowledgement: list[int] = []

    def run_task() -> None:
        slept.clear()
        hub.call_soon(lambda: before_acknowledgement.append(len(slept)))
        signals.task_postrun.send(sender=None)

    # Where nothing is to be read the loop would sleep.
    poll = hub.poller.poll
    hub.poller.poll = lambda timeout: poll(0) or slept.append(timeout)
    loop = hub.create_loop()
    try:
        next(loop)
        hub.call_soon(run_task)
        while not before_acknowledgement:
            next(loop)
    finally:
        hub.close()
        sweeper.stop(None)
        broker_end.close()
        our_end.close()

    assert before_acknowledgement == [sleeps]
