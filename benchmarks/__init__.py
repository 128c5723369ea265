"""Measures the engine against the limits of the machine that it runs on."""
