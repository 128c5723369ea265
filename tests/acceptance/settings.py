"""The demo project's settings, for the workers of the acceptance tests: the tests' database, and haste."""

from __future__ import annotations

import json
import os

from project.settings import *  # noqa: F403
from project.settings import DATABASES, INSTALLED_APPS

DEBUG = False
INSTALLED_APPS = [*INSTALLED_APPS, "tests.acceptance.app"]
DATABASES["default"]["NAME"] = os.environ["ACCEPTANCE_DATABASE"]
DURABLE = {"LEASE": 2.0, "POLL": 0.2, "REDISPATCH": 1.0, **json.loads(os.environ.get("ACCEPTANCE_DURABLE", "{}"))}
