"""Histories that one Python records and another replays; nothing here needs more than the core."""
