"""What commands have in common that do something to instances: which, who and why, dry runs, and what came of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from durable.errors import DurableError
from durable.management.base import INPUT, INTERRUPTED, DurableCommand, exit_code
from durable.management.previews import described
from durable.management.progress import Progress
from durable.operations.shapes import Preview, facts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.core.management.base import CommandParser

STDIN = "-"


class VerbCommand(DurableCommand):
    """A command that does something to instances, one after the other: what one refuses keeps no other from it.

    A subclass says what, in ``act``, and adds its own options in ``add_options``.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments that all such commands take, and the command's own."""
        self.add_targets(parser)
        self.add_options(parser)
        parser.add_argument("--reason", default="", help="why; recorded")
        parser.add_argument("--actor", metavar="NAME", help="who asks for it; recorded")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument("--json", action="store_true", help="print a JSON array, an object for each instance")

    def add_targets(self, parser: CommandParser) -> None:
        """Add the arguments that name instances."""
        parser.add_argument("ids", nargs="+", metavar="ID", help="instances; - reads ids from standard input")

    def add_options(self, parser: CommandParser) -> None:
        """Add the options that only this command takes."""

    def act(self, instance_id: str, *, reason: str, actor: str | None, dry_run: bool, **options: Any) -> Any:
        """Do it to an instance, and return something with ``to_json``; what a dry run would do is a ``Preview``.

        Args:
            instance_id: The instance.
            reason: Why.
            actor: Who asks for it.
            dry_run: Whether to change nothing.
            options: What the command adds.

        Raises:
            DurableError: It is refused.
        """
        raise NotImplementedError

    def said(self, instance_id: str, done: Any) -> str:
        """Return what was done, for people."""
        raise NotImplementedError

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
                done, error = self._act(instance_id, **options)
                if error is not None:
                    refusals.append(error)
                answers.append(_as_json(instance_id, done, error))
                if progress is not None:
                    progress.step()
                else:
                    self._say(instance_id, done, error, alone=len(chosen) == 1)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            if progress is not None:
                progress.end()
        if json:
            self.print_json(answers)
        self._end(len(answers), len(chosen), refusals, interrupted=interrupted)

    def _act(self, instance_id: str, **options: Any) -> tuple[Any, DurableError | None]:
        try:
            done = self.act(instance_id, **options)
        except DurableError as error:
            return None, error
        return done, done.refusal if isinstance(done, Preview) else None

    def _say(self, instance_id: str, done: Any, error: DurableError | None, *, alone: bool) -> None:
        if isinstance(done, Preview) and done.allowed:
            self.stdout.write(described(done))
        elif error is None:
            self.stdout.write(self.said(instance_id, done))
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


def named(ids: Iterable[str]) -> Iterable[str]:
    """Return the ids that arguments name, each once; ``-`` stands for those on standard input, one a line.

    Raises:
        CommandError: There are none.
    """
    lines = [line for each in ids for line in (sys.stdin if each == STDIN else (each,))]
    found = dict.fromkeys(line.strip() for line in lines if line.strip())
    if not found:
        raise CommandError("no ids were given", returncode=INPUT)
    return found


def _as_json(instance_id: str, done: Any, error: DurableError | None) -> dict[str, Any]:
    if done is not None:
        return {"id": instance_id, **done.to_json()}
    assert error is not None  # noqa: S101 - there is one or the other
    return {"id": instance_id, "outcome": "refused", **facts_of(error)}
