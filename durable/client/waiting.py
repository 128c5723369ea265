"""Looks for results that ask about all instances at once for which async code waits."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from asgiref.sync import sync_to_async
from django.db import connections

from durable import conf
from durable.core.errors import UnknownInstance
from durable.store import instances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.client.patience import Patience

_AT_ONCE = 500
"""How many instances a look asks about at most."""


class _Company:
    """All who wait and look through one connection: another one may see other rows, or other tables.

    Attributes:
        waiters: They.
        is_looking: Whether one of them looks just now.
    """

    def __init__(self) -> None:
        self.waiters: WeakSet[Waiter] = WeakSet()
        self.is_looking = False


_companies: WeakKeyDictionary[Any, _Company] = WeakKeyDictionary()


class Waiter:
    """Somebody who waits for the end of an instance.

    Attributes:
        instance_id: The instance.
        end: How it ended, as it is stored, once somebody has seen that.
        due: When the next look is due, by the monotonic clock; None if there is to be none.
    """

    def __init__(self, instance_id: str, patience: Patience) -> None:
        self.instance_id = instance_id
        self.end: Sequence[Any] | None = None
        self.due: float | None = time.monotonic()
        self._looked = self.due
        self._patience = patience
        self._company = _Company()

    def is_due(self, now: float, *, share: float = 1.0) -> bool:
        """Say whether there is to be a look, once a share of the pause is over."""
        return self.end is None and self.due is not None and now >= self._looked + share * (self.due - self._looked)

    async def look(self) -> bool:
        """Look, and for all of the company for whom it is time, unless somebody did; say whether the end is there.

        Nobody relies on others: a look that fails, or is never made, leaves them to look for themselves.

        Raises:
            UnknownInstance: There is no such instance.
        """
        if self.end is None:
            company = self._company
            company.is_looking = True
            try:
                await sync_to_async(self.look_now)()
            finally:
                company.is_looking = False
        return self.end is not None

    def look_now(self) -> None:
        """Do what ``look`` does, in the thread at hand."""
        now = time.monotonic()
        if not self.is_due(now):
            return  # somebody looked while this one waited for the thread
        self._company = _companies.setdefault(connections[conf.settings.DATABASE], _Company())
        # Not too early: among those who wait for long, one who has just begun would have all looked for all the time.
        others = [each for each in self._company.waiters if each is not self and each.is_due(now, share=0.5)]
        asked = [self, *others[: _AT_ONCE - 1]]
        found = instances.ends([each.instance_id for each in asked])
        if self.instance_id not in found:
            raise UnknownInstance(self.instance_id)
        for each in asked:
            each._take(found.get(each.instance_id))
        self._company.waiters.add(self)

    def _take(self, end: Sequence[Any] | None) -> None:
        self.end = end
        pause = self._patience.pause()
        self._looked = time.monotonic()
        self.due = None if pause is None else self._looked + pause

    async def rest(self) -> None:
        """Sleep until there is something to see or to look for."""
        is_late = False
        while self.end is None and self.due is not None:
            left = self.due - time.monotonic()
            if left <= 0:
                if is_late or not self._company.is_looking:
                    return
                # Likely for this one, too.
                is_late, left = True, max(0.001, 0.1 * (self.due - self._looked))
            await asyncio.sleep(left)
