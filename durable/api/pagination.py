"""Pages by cursor, which cost the same wherever they are.

One that looks for what no index finds may be short, or empty, and yet have a next one.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import Q
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import ValidationError as Refused
from rest_framework.pagination import CursorPagination

from durable.store import listing


class Pages(CursorPagination):
    """Pages of instances and of what belongs to them; the view's ``ordering`` unless the request says another."""

    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 1000

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> Any:
        return view.get_ordering()

    def get_page_size(self, request: Any) -> int:
        told = request.query_params.get(self.page_size_query_param, str(self.page_size))
        if not (told.isascii() and told.isdecimal() and len(told) < 10 and 1 <= int(told) <= self.max_page_size):
            raise Refused({self.page_size_query_param: f"Give a whole number from 1 to {self.max_page_size:,}."})
        return int(told)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        found = super().get_schema_operation_parameters(view)
        for each in found:
            if each["name"] == self.page_size_query_param:
                each["schema"] |= {"minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return list(found)

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> Any:
        try:
            bound, among = self._bound(queryset, request, view)
            return self._page(queryset.filter(among), bound, request, view)
        except (ValidationError, ValueError, TypeError, OverflowError, DataError):
            # A cursor of another ordering, or one that somebody made up.
            raise NotFound("Invalid cursor") from None

    def _bound(self, queryset: Any, request: Any, view: Any) -> tuple[Any, Q]:
        """Return how far to look for what no index finds, as a position and as a condition; None is to the end."""
        order = self.get_ordering(request, queryset, view)[0]
        field, cursor = order.removeprefix("-"), self.decode_cursor(request)
        downwards = order.startswith("-") != (cursor is not None and cursor.reverse)
        beyond = Q()
        if cursor is not None and cursor.position is not None:
            beyond = Q(**{f"{field}__{'lte' if downwards else 'gte'}": cursor.position})
        ends = []
        for part in view.along(field):
            times = part.filter(beyond).order_by(f"{'-' if downwards else ''}{field}").values_list(field, flat=True)
            ends += times[listing.SPAN - 1 : listing.SPAN]
        if not ends:
            return None, beyond
        end = max(ends) if downwards else min(ends)
        return end, beyond & Q(**{f"{field}__{'gte' if downwards else 'lte'}": end})

    def _page(self, queryset: Any, bound: Any, request: Any, view: Any) -> Any:
        found: Any = super().paginate_queryset(queryset, request, view)
        position = None if bound is None else str(bound)
        cursor: Any = self.cursor
        if cursor is not None and cursor.reverse:
            if position is not None and not self.has_previous:
                self.has_previous, self.previous_position = True, position
            if not found:  # the way back begins beyond what was looked at
                self.next_position = position
            return found
        if position is not None and not self.has_next:
            self.has_next, self.next_position = True, position
        if not found and cursor is not None:
            self.previous_position = position
        return found
