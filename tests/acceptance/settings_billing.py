"""Settings of the other one of two projects on one database and one broker."""

from __future__ import annotations

from tests.acceptance.settings import *  # noqa: F403
from tests.acceptance.settings import DURABLE, INSTALLED_APPS

INSTALLED_APPS = [*(app for app in INSTALLED_APPS if app != "tests.acceptance.app"), "tests.acceptance.billing"]
DURABLE = {
    "QUEUE": "durable.billing",
    "STALL_RETRY": 0.5,
    "VERSIONING": {"EXCLUDE_TYPES": ["ledger"], "MAP_MULTI_APP_TYPES": {"sale": "shop"}},
    **DURABLE,
}
