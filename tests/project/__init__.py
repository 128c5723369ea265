"""Tests of the demo project: its workflows by replay, its activities as functions, both by the engine."""
