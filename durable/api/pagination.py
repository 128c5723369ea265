"""Pages by cursor, which cost the same wherever they are."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import ValidationError as Refused
from rest_framework.pagination import CursorPagination


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
            return super().paginate_queryset(queryset, request, view)
        except (ValidationError, ValueError, TypeError, DataError):
            # A cursor of another ordering, or one that somebody made up.
            raise NotFound("Invalid cursor") from None
