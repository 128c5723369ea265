"""What commands tell the tests."""

from __future__ import annotations

import io
import json
from typing import Any

from django.core.management import CommandError, call_command


class Told:
    """What a command printed, and its exit code."""

    def __init__(self, *args: str) -> None:
        out, err, self.code, self.error = io.StringIO(), io.StringIO(), 0, ""
        try:
            call_command(*args, stdout=out, stderr=err, no_color=True)
        except CommandError as error:
            self.code, self.error = error.returncode, str(error)
        self.out, self.err = out.getvalue(), err.getvalue()

    @property
    def json(self) -> Any:
        """Return what it printed, as JSON."""
        return json.loads(self.out)
