"""An app of one of two projects that share a database."""

from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """It has versions of its own, also of what is the other project's."""

    name = "tests.acceptance.shop"
    label = "acceptance_shop"
