"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class DurableConfig(AppConfig):
    """Finds every app's workflows once the models are loaded."""

    name = "durable"
    verbose_name = _("Durable workflows")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect what may not be imported before the models are loaded."""
        from durable import checks, client, sweeper, tasks  # noqa: F401, PLC0415 - they need the models
        from durable.core.definitions import install_starter  # noqa: PLC0415

        install_starter(client.start_definition)
        autodiscover_modules("workflows", "activities")
