"""Completes an activity from outside: ``manage.py durable_complete TOKEN [RESULT]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable import client
from durable.management.base import INPUT, DurableCommand, json_value

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(DurableCommand):
    """Complete or fail an activity that called ``complete_later``."""

    help = "Complete an activity that called complete_later, or fail it: then it is tried again as its policy says."
    examples = (
        "durable_complete 0190b0a0-0000-7000-8000-000000000000:3:1 '\"signed\"'",
        "durable_complete 0190b0a0-0000-7000-8000-000000000000:3:1 --fail 'they did not sign'",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("token", help="what complete_later returned")
        parser.add_argument("result", nargs="?", type=json_value, help="a JSON value (null)")
        parser.add_argument("--fail", metavar="MESSAGE", help="fail it instead")
        parser.add_argument("--json", action="store_true", help="print a JSON object with token and outcome")

    def handle(self, *, token: str, result: Any, fail: str | None, **options: Any) -> None:
        """Run the command."""
        if fail is None:
            client.complete_activity(token, result)
        elif result is None:
            client.fail_activity(token, fail)
        else:
            raise CommandError("give a result or --fail, not both", returncode=INPUT)
        outcome = "completed" if fail is None else "failed"
        if options["json"]:
            self.print_json({"token": token, "outcome": outcome})
        else:
            self.stdout.write(f"{token}: {outcome}")
