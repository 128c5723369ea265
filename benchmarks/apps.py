"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig

from benchmarks import instruments


class BenchmarksConfig(AppConfig):
    """Lets the workers measure themselves when they are asked to."""

    name = "benchmarks"

    def ready(self) -> None:
        """Begin to measure."""
        instruments.install_in_worker()
