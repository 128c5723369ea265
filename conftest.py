"""What all tests share, the package's and the demo's."""

from __future__ import annotations

# An installed package is found by its entry point; this checkout is on the path only.
pytest_plugins = ["durable.pytest_plugin"]
