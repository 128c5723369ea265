"""Pages by cursor, which cost the same wherever they are."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination


class Pages(CursorPagination):
    """Pages of instances and of what belongs to them; the view's ``ordering`` unless the request says another."""

    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 1000

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> Any:
        return view.get_ordering()

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> Any:
        try:
            return super().paginate_queryset(queryset, request, view)
        except (ValidationError, ValueError, TypeError, DataError):
            # A cursor of another ordering, or one that somebody made up.
            raise NotFound("Invalid cursor") from None
