"""What the two projects on one database have in common."""

from __future__ import annotations

import os

from durable import activity


@activity.defn
def project() -> str:
    """Return which project's worker runs this."""
    return os.environ["DJANGO_SETTINGS_MODULE"].rpartition("_")[2]
