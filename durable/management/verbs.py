"""What commands have in common that do something to instances: which, who and why, dry runs, and what came of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.management.base import CommandError

from durable.client import Handle, Outcome, Preview
from durable.client.verbs import VERBS
from durable.errors import DurableError
from durable.management import previews
from durable.management.base import INPUT, INTERRUPTED, DurableCommand, exit_code
from durable.management.progress import Progress
from durable.operations.shapes import facts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.core.management.base import CommandParser

STDIN = "-"


class VerbCommand(DurableCommand):
    """A command that does a verb to instances, one after the other: what one refuses keeps no other from it.

    A subclass says which verb, and adds the options that only this one takes.

    Attributes:
        verb: A key of ``durable.client.verbs.VERBS``. Options get to its function by their names.
        past: What was done then, for people.
    """

    verb: ClassVar[str]
    past: ClassVar[str]

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments that all such commands take, and the command's own."""
        self.add_targets(parser)
        self.add_options(parser)
        parser.add_argument("--reason", default="", help="why; recorded")
        parser.add_argument("--actor", metavar="NAME", help="who asks for it; recorded")
        if "dry_run" in VERBS[self.verb].takes:
            parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument("--json", action="store_true", help="print a JSON array, an object for each instance")

    def add_targets(self, parser: CommandParser) -> None:
        """Add the arguments that name instances."""
        parser.add_argument("ids", nargs="+", metavar="ID", help="instances; - reads ids from standard input")

    def add_options(self, parser: CommandParser) -> None:
        """Add the options that only this command takes."""

    def said(self, instance_id: str, done: Any, options: dict[str, Any]) -> str:
        """Return what was done, for people."""
        match done:
            case Outcome(instance_id=new_id) if new_id != instance_id:
                return f"{instance_id}: closed, so it is rerun as {new_id}"
            case Outcome():
                return previews.done(done, self.past)
            case Handle():
                return f"{instance_id}: {self.past} as {done.id}"
            case _:
                return f"{instance_id}: {self.past}"

    def handle(self, *, ids: Sequence[str], json: bool, **options: Any) -> None:
        """Run the command."""
        chosen = list(named(ids))
        # Without --json each line says by itself how far it is.
        progress = Progress(self.stderr, len(chosen)) if json else None
        answers: list[dict[str, Any]] = []
        refusals: list[DurableError] = []
        interrupted = False
        try:
            for instance_id in chosen:
                done, error = self._act(instance_id, options)
                if error is not None:
                    refusals.append(error)
                answers.append(_as_json(instance_id, done, error))
                if progress is not None:
                    progress.step()
                else:
                    self._say(instance_id, done, error, options, alone=len(chosen) == 1)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            if progress is not None:
                progress.end()
        if json:
            self.print_json(answers)
        self._end(len(answers), len(chosen), refusals, interrupted=interrupted)

    def _act(self, instance_id: str, options: dict[str, Any]) -> tuple[Any, DurableError | None]:
        verb = VERBS[self.verb]
        try:
            done = verb.call(instance_id, **{name: value for name, value in options.items() if name in verb.takes})
        except DurableError as error:
            return None, error
        return done, done.refusal if isinstance(done, Preview) else None

    def _say(
        self, instance_id: str, done: Any, error: DurableError | None, options: dict[str, Any], *, alone: bool
    ) -> None:
        if isinstance(done, Preview) and done.allowed:
            self.stdout.write(previews.described(done))
        elif error is None:
            self.stdout.write(self.said(instance_id, done, options))
        elif not alone:
            self.stderr.write(f"{instance_id}: {error}")

    def _end(self, done: int, asked: int, refusals: Sequence[DurableError], *, interrupted: bool) -> None:
        summary = f"{done - len(refusals):,} of {asked:,} done, {len(refusals):,} refused"
        if interrupted:
            raise CommandError(f"interrupted; so far: {summary}", returncode=INTERRUPTED)
        if not refusals:
            return
        if asked == 1:
            raise CommandError(str(refusals[0]), returncode=exit_code(refusals[0])) from refusals[0]
        codes = {exit_code(error) for error in refusals}
        raise CommandError(summary, returncode=codes.pop() if len(codes) == 1 else 1)


def named(ids: Sequence[str]) -> Iterable[str]:
    """Return the ids that arguments name, each once; ``-`` stands for those on standard input, one a line.

    Raises:
        CommandError: There are none.
    """
    if STDIN in ids and sys.stdin.isatty():
        sys.stderr.write("type ids, one a line, and end with Ctrl-D\n")
    lines = [line for each in ids for line in (sys.stdin if each == STDIN else (each,))]
    found = dict.fromkeys(line.strip() for line in lines if line.strip())
    if not found:
        where = "came on standard input" if STDIN in ids else "were given"
        raise CommandError(f"no ids {where}; nothing is done", returncode=INPUT)
    return found


def _as_json(instance_id: str, done: Any, error: DurableError | None) -> dict[str, Any]:
    match done:
        case Preview() | Outcome():
            return {"id": instance_id, **done.to_json()}
        case Handle():
            return {"id": instance_id, "outcome": "done", "new_id": done.id}
        case None if error is not None:
            return {"id": instance_id, "outcome": "refused", **facts_of(error)}
        case _:
            return {"id": instance_id, "outcome": "done"}
