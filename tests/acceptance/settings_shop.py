"""Settings of one of two projects on one database and one broker."""

from __future__ import annotations

from tests.acceptance.settings import *  # noqa: F403
from tests.acceptance.settings import DURABLE, INSTALLED_APPS

INSTALLED_APPS = [*(app for app in INSTALLED_APPS if app != "tests.acceptance.app"), "tests.acceptance.shop"]
DURABLE = {
    "QUEUE": "durable.shop",
    "VERSIONING": {"MAP_MULTI_APP_TYPES": {"invoice": "billing", "ledger": "billing"}},
    **DURABLE,
}
