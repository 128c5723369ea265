"""A Celery app gets the settings that suit durable, where it has none of its own."""

from __future__ import annotations

import subprocess
import sys

from celery import Celery

from durable import worker


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


def test_worker_can_be_imported_before_the_models_are_loaded():
    code = "import durable.worker, celery; durable.worker.configure(celery.Celery('early'))"

    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
