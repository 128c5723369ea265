"""Replays an instance in a process of its own, and prints what it took."""

from __future__ import annotations

import json
import sys
from importlib import import_module

import django

if __name__ == "__main__":
    django.setup()
    # Only now are there models to import.
    print(json.dumps(import_module("benchmarks.replaying").measure(*sys.argv[1:])))
