"""What makes a Celery app fit for durable; import it where the app is made, before Django's models are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

RECOMMENDED: dict[str, Any] = {
    # Celery closes the database connection after every task unless told otherwise. Its Django fixup
    # asks for the long name, whatever the namespace of the app's own settings is.
    "db_reuse_max": 100_000,
    "CELERY_DB_REUSE_MAX": 100_000,
    "worker_prefetch_multiplier": 1,
    "worker_soft_shutdown_timeout": 15.0,
    "worker_enable_soft_shutdown_on_idle": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "broker_connection_retry_on_startup": True,
    # Publish at once or not at all: kombu would try for four seconds, and the sweep repairs it.
    "broker_transport_options": {"max_retries": 1, "interval_start": 0, "interval_step": 0.1},
}
"""Celery settings that make durable work fast and its workers easy to stop."""

REDIS_ANSWERS: dict[str, Any] = {"socket_connect_timeout": 2.0, "socket_timeout": 3.0}
"""What is added to the transport options for Redis, whatever else they say, in seconds.

Without them, who publishes waits for ever for a server that takes the connection and never answers.
"""


def configure(app: Celery) -> Celery:
    """Give a Celery app the recommended settings, where it sets none itself.

    Its workers look for due work by themselves. Call it in ``celery.py``, before or after
    ``config_from_object``; no setting is read before it is needed.
    """
    app.steps["worker"].add("durable.sweeper:Sweeper")
    if app.configured:  # type: ignore[attr-defined] # celery-types does not know it
        _recommend(app.conf)
    else:
        app.on_after_configure.connect(_after_configure)
    return app


def _after_configure(source: Any, **_: Any) -> None:
    _recommend(source)


def _recommend(conf: Any) -> None:
    # The last map holds Celery's own defaults: ours go before them and after all that the app sets.
    conf.maps.insert(-1, dict(RECOMMENDED))
    broker = str(conf.broker_url or "")
    if broker.startswith("memory:"):
        # Kombu looks into its memory once a second, and every hop would wait for that.
        conf.maps[-2]["broker_transport_options"] = {"polling_interval": 0.01}
    elif broker.startswith(("redis", "sentinel")):
        conf.broker_transport_options = {**REDIS_ANSWERS, **(conf.broker_transport_options or {})}
