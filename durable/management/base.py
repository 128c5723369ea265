"""What durable's commands have in common: examples in their help, JSON, and exit codes that scripts can tell apart."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError, ProgrammingError

from durable import errors
from durable.operations.shapes import given_input

if TYPE_CHECKING:
    from durable.models import Instance

INPUT, UNKNOWN, CONFLICT, NOT_COMPLETED, TIMEOUT, DENIED, CODE = 2, 3, 4, 5, 6, 7, 8
INTERRUPTED, BROKEN_PIPE = 130, 141

_LONG = 10

EXIT_CODES: tuple[tuple[int, tuple[type[errors.DurableError], ...]], ...] = (
    (
        UNKNOWN,
        (
            errors.UnknownInstance,
            errors.UnknownExecution,
            errors.UnknownEvent,
            errors.UnknownWorkflow,
            errors.UnknownActivity,
            errors.VersionNotAvailable,
        ),
    ),
    (
        CONFLICT,
        (
            errors.AlreadyExists,
            errors.NotOpen,
            errors.NotClosed,
            errors.NotFailed,
            errors.WorkWouldBeLost,
            errors.ConcurrencyConflict,
            errors.NondeterminismError,
            errors.InvalidHistory,
            errors.UndecodableEvent,
            errors.UndecodablePayload,
        ),
    ),
    (
        INPUT,
        (
            errors.InvalidInput,
            errors.InvalidId,
            errors.InvalidTranscript,
            errors.NotAnActivity,
            errors.PayloadTooLarge,
            errors.LimitExceeded,
        ),
    ),
    (
        NOT_COMPLETED,
        (
            errors.WorkflowFailed,
            errors.WorkflowCanceled,
            errors.WorkflowTerminated,
            errors.UpdateFailed,
            errors.UpdateRejected,
        ),
    ),
    (TIMEOUT, (errors.ResultTimeout,)),
    (DENIED, (errors.PermissionDenied,)),
    (
        CODE,
        (
            errors.ForbiddenInWorkflow,
            errors.OutsideWorkflow,
            errors.ReadOnly,
            errors.RunawayStep,
            errors.PatchReused,
            errors.InvalidDefinition,
            errors.DuplicateName,
        ),
    ),
)

_EXIT_HELP = """\
exit codes:
  0 done   1 any other error   2 input that cannot be taken   3 no such workflow, instance or execution
  4 the instance's state or history forbids it   5 the workflow or the update did not complete
  6 it did not end in time   7 not permitted   8 the workflow's code did what it must not
  130 interrupted   141 nobody reads the output any more
"""


class _HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, with the examples as they were written."""


class DurableCommand(BaseCommand):
    """A command over ``durable.client``: its errors are exit codes.

    Attributes:
        examples: Command lines for the help, without ``manage.py``.
    """

    examples: ClassVar[tuple[str, ...]] = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser, its help ending in examples and exit codes."""
        examples = "".join(f"  {prog_name} {example}\n" for example in self.examples)
        epilog = f"examples:\n{examples}\n{_EXIT_HELP}"
        parser = super().create_parser(prog_name, subcommand, epilog=epilog, formatter_class=_HelpFormatter, **kwargs)
        # Options may stand before, between and after arguments; argparse's own way takes them apart only at the ends.
        parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]
        if not parser.called_from_command_line:
            parser.error = _refuse  # type: ignore[method-assign]
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command.

        Raises:
            CommandError: The client raised something, the database has no tables of ours, or somebody interrupted;
                the exit code says of which kind it was.
        """
        try:
            try:
                return super().execute(*args, **options)
            finally:
                self.stdout.flush()  # here, where a pipe that nobody reads can still be told of
        except errors.DurableError as error:
            raise CommandError(str(error), returncode=exit_code(error)) from error
        except (InterfaceError, OperationalError, ProgrammingError) as error:
            raise CommandError(f"the database says: {error} (is it there, and was `migrate` run?)") from error
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=INTERRUPTED) from None
        except BrokenPipeError:
            # The interpreter flushes once more when it ends, and is not to stumble over the same pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(BROKEN_PIPE) from None

    def print_json(self, data: Any) -> None:
        """Write data as JSON."""
        self.stdout.write(json.dumps(data, indent=2, cls=DjangoJSONEncoder, ensure_ascii=False))


def _refuse(message: str) -> NoReturn:
    """Refuse arguments with the exit code that they have on the command line."""
    raise CommandError(f"Error: {message}", returncode=INPUT)


def plain(value: Any) -> Any:
    """Return what a client returned, dataclasses within it included, as what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, errors.DurableError):
        return {"type": type(value).__name__, "message": str(value)}
    return value


def exit_code(error: errors.DurableError) -> int:
    """Return the exit code that an error leads to."""
    return next((code for code, kinds in EXIT_CODES if isinstance(error, kinds)), 1)


def json_value(text: str) -> Any:
    """Return what a JSON text on the command line stands for; for argparse's ``type=``."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {text!r} ({error}); a text needs its quotes: '\"text\"'") from None


def json_object(text: str) -> dict[str, Any]:
    """Return what a JSON object on the command line stands for; for argparse's ``type=``."""
    value = json_value(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text!r}; write for example '{{\"amount\": 5}}'")
    return value


def activity_input(text: str) -> Any:
    """Return what a JSON text stands for as an activity's new input; for argparse's ``type=``."""
    value = json_value(text)
    try:
        return given_input(value)
    except errors.InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_call(parser: CommandParser) -> None:
    """Add the arguments that are those of a call."""
    parser.add_argument("arguments", nargs="*", type=json_value, metavar="ARGUMENT", help="a JSON value each")
    parser.add_argument("--kwargs", type=json_object, default={}, help="keyword arguments, as a JSON object")


def positive(text: str) -> int:
    """Return the number from 1 that a text on the command line stands for; for argparse's ``type=``."""
    return _number(text, 1)


def natural(text: str) -> int:
    """Return the number from 0 that a text on the command line stands for; for argparse's ``type=``."""
    return _number(text, 0)


def event_id(text: str) -> int:
    """Return the event id that a text on the command line stands for; for argparse's ``type=``."""
    try:
        return _number(text, 0)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"not an event id: {text!r}; `durable_show ID` lists them") from None


def _number(text: str, least: int) -> int:
    # No number that is so long is meant, and Python takes its time with them.
    if not (text.isascii() and text.isdecimal() and len(text) < _LONG) or int(text) < least:
        raise argparse.ArgumentTypeError(f"not a number from {least}: {text!r}")
    return int(text)


def tag(text: str) -> tuple[str, Any]:
    """Return the name and value of ``name=value``; a value that is not JSON is a text. For argparse's ``type=``."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"not a tag: {text!r}; write name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def summary(instance: Instance) -> dict[str, Any]:
    """Return what lists say of an instance, as JSON."""
    return {
        "id": instance.pk,
        "workflow": instance.name,
        "version": instance.version,
        "status": instance.status,
        "queue": instance.queue,
        "tags": instance.tags,
        "patches": instance.patches,
        "custom_status": instance.custom_status,
        "progress": instance.progress,
        "parent": instance.parent_id,
        "events": instance.head,
        "created_at": instance.created_at,
        "started_at": instance.started_at,
        "closed_at": instance.closed_at,
    }
