"""An app of the other one of two projects that share a database."""

from __future__ import annotations

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """It has versions of its own, also of what is the other project's."""

    name = "tests.acceptance.billing"
    label = "acceptance_billing"
