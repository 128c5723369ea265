"""Instances whose code is in another process: which one has to do what was asked here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from durable.core.errors import UnknownWorkflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable.models import Instance


@contextmanager
def telling(instance: Instance) -> Iterator[None]:
    """Have an error about code that is not here say whose it is, and where that instance's workers are.

    Raises:
        UnknownWorkflow: The block raised it; what was said of an instance below this one stays.
    """
    try:
        yield
    except UnknownWorkflow as error:
        if error.instance_id:
            raise
        raise UnknownWorkflow(
            error.name,
            version=error.version,
            near=error.near,
            instance_id=instance.pk,
            queue=instance.queue,
            app_id=instance.app_id,
        ) from None
