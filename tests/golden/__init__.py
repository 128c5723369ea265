"""Histories that every release must replay; see the README."""
