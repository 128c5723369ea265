"""Starts a workflow: ``manage.py durable_start TYPE [ARGUMENT ...]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable.client.start import operate
from durable.management.base import INTERRUPTED, DurableCommand, add_call, tag

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(DurableCommand):
    """Start an instance and print its id; with ``--wait``, its result."""

    help = "Start a workflow and print the new instance's id, or with --wait its result as JSON."
    examples = (
        "durable_start order 42",
        "durable_start order 42 --id order-42 --tag customer=Ada --tag priority=1",
        """durable_start greet '"world"' --kwargs '{"shout": true}' --wait 30""",
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments."""
        parser.add_argument("type", help="the workflow's type name, such as order or order2")
        add_call(parser)
        parser.add_argument("--id", help="the instance's id; one is made up otherwise")
        parser.add_argument("--queue", help="the queue that it runs on")
        parser.add_argument(
            "--tag", type=tag, action="append", default=[], metavar="NAME=VALUE", help="may be given repeatedly"
        )
        parser.add_argument("--delay", type=float, metavar="SECONDS", help="begin so much later")
        parser.add_argument(
            "--wait",
            type=float,
            nargs="?",
            const=float("inf"),
            metavar="SECONDS",
            help="wait for the end, at most for so long if a time is given, and print the result",
        )
        parser.add_argument("--reason", default="", help="why; recorded")
        parser.add_argument("--actor", metavar="NAME", help="who asks for it; recorded")
        parser.add_argument("--json", action="store_true", help="print a JSON object with id, status and result")

    def handle(self, *, type: str, arguments: list[Any], wait: float | None, **options: Any) -> None:
        """Run the command."""
        chosen = {name: options[name] for name in ("id", "queue", "delay") if options[name] is not None}
        chosen |= {"reason": options["reason"], "actor": options["actor"]}
        handle = operate(type, arguments, options["kwargs"], tags=dict(options["tag"]), **chosen)
        if wait is None:
            if options["json"]:
                self.print_json({"id": handle.id, "status": handle.status})
            else:
                self.stdout.write(handle.id)
            return
        try:
            result = handle.result(None if wait == float("inf") else wait)
        except KeyboardInterrupt:
            raise CommandError(
                f"it goes on without you; see `durable_show {handle.id}`", returncode=INTERRUPTED
            ) from None
        self.print_json({"id": handle.id, "status": handle.status, "result": result} if options["json"] else result)
