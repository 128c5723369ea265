"""The demo project's settings with nothing in it but the engine and the workloads."""

from __future__ import annotations

from project.settings import *  # noqa: F403 - what is measured is what the project recommends

DEBUG = False
INSTALLED_APPS = ["django.contrib.contenttypes", "durable", "benchmarks"]
MIDDLEWARE = []
ROOT_URLCONF = ""

# The largest results of the trees of workflows are larger than what is let in by default.
DURABLE["LIMITS"] = {"payload": 10_000_000}  # noqa: F405 - of the project
