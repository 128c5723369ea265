"""Percentiles."""

from __future__ import annotations


def percentile(ordered: list[float], percent: int) -> float:
    """Return the value that ``percent`` of the ordered values do not exceed."""
    return ordered[round((len(ordered) - 1) * percent / 100)]
