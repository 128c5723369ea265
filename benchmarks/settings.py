"""The demo project's settings with nothing in it but the engine and the workloads."""

from __future__ import annotations

from project.settings import *  # noqa: F403 - what is measured is what the project recommends

DEBUG = False
INSTALLED_APPS = ["django.contrib.contenttypes", "durable", "benchmarks"]
MIDDLEWARE = []
ROOT_URLCONF = ""
