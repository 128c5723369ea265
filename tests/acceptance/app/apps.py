"""The app that the acceptance tests' workers run."""

from __future__ import annotations

from django.apps import AppConfig


class AcceptanceConfig(AppConfig):
    """Its workflows and activities are found like any app's."""

    name = "tests.acceptance.app"
    label = "acceptance"
