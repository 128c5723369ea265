"""The documentation: its code runs, its lists are complete, its links lead somewhere."""

from __future__ import annotations

import ast
import doctest
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest
from _pytest.fixtures import FixtureFunctionDefinition
from django.core.management import BaseCommand, load_command_class
from django.dispatch import Signal
from markdown_it import MarkdownIt

from durable import (
    activity,
    analyzer,
    checks,
    client,
    conf,
    interceptors,
    pytest_plugin,
    registry,
    telemetry,
    testing,
    workflow,
)
from durable.api import problems, urls
from durable.api import verbs as api_verbs
from durable.client import verbs as batch_verbs
from durable.core import errors, events
from durable.engine import cache
from durable.management.base import exit_code
from durable.store import clock
from durable.testing import factories
from project import celery_app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIALS = [page for page in PAGES if page.parent.name == "tutorial"]
REFERENCE = ROOT / "docs" / "reference"
COMMANDS = ROOT / "durable" / "management" / "commands"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        words: What stands behind the fence: the language, then ``no-run`` or ``file=PATH``.
        line: The line of its fence, from 1.
    """

    words: list[str]
    text: str
    line: int

    @property
    def language(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def file(self) -> str:
        return next((word.partition("=")[2] for word in self.words if word.startswith("file=")), "")


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks in order."""
    tokens = MarkdownIt().parse(page.read_text())
    return [Block(t.info.split(), t.content, (t.map or [0])[0] + 1) for t in tokens if t.type == "fence"]


def is_run(block: Block) -> bool:
    """Say whether a block is run where it stands."""
    return block.language == "python" and not block.file and "no-run" not in block.words


def compiled(page: Path, block: Block) -> types.CodeType:
    """Return a block's code; tracebacks lead to its line on the page."""
    tree = ast.parse(block.text, filename=str(page))
    return compile(ast.increment_lineno(tree, block.line), str(page), "exec", dont_inherit=True)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_every_python_block_compiles(page):
    for block in blocks(page):
        if block.language == "python":
            compiled(page, block)


@pytest.fixture
def eager(monkeypatch, transactional_db):
    """One process does everything, knowing only what the page defines."""
    for kind in ("_workflows", "_activities"):
        ours = {key: value for key, value in getattr(registry, kind).items() if key.startswith("durable.")}
        monkeypatch.setattr(registry, kind, ours)
    celery_app.conf.task_always_eager = True
    clock.forget()
    yield
    celery_app.conf.task_always_eager = False
    cache.clear()
    clock.forget()


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(is_run, blocks(page)))], ids=name)
@pytest.mark.usefixtures("eager")
def test_python_blocks_run(page, monkeypatch):
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)

    for block in filter(is_run, blocks(page)):
        exec(compiled(page, block), module.__dict__)


# --- tutorials: followed in an empty directory, with a worker of its own

SHELL = """
import doctest, json, sys
import django
django.setup()
session = {}
runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
for line in iter(sys.stdin.readline, ""):
    test = doctest.DocTestParser().get_doctest(json.loads(line), session, "shell", None, None)
    runner.run(test, clear_globs=False)
    session.update(test.globs)
    print("typed", flush=True)
"""


_LEFT_OUT = {"source", "venv", "pip", "createsuperuser", "runserver"}
"""What is not done: it is there already, or it asks somebody."""


class Follower:
    """Does what a tutorial says: writes its files, gives its commands, types its lines into the shell."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._worker: subprocess.Popen[bytes] | None = None
        self._shell: subprocess.Popen[str] | None = None
        # Without what the tests run under, and with this checkout in place of an installed package.
        hidden = ("DJANGO_", "DURABLE_", "DATABASE_URL", "BROKER_URL", "COVERAGE_", "PYTEST_")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        self.env |= {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def follow(self, block: Block) -> None:
        """Do what one block says."""
        if block.file:
            path = self._place / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a" if "append" in block.words else "w") as file:
                file.write(block.text)
        elif block.language == "console":
            for line in block.text.splitlines():
                if line.startswith("$ "):
                    self._run(shlex.split(line[2:], comments=True))
        elif block.language == "pycon":
            self._type(block)

    def _run(self, command: list[str]) -> None:
        if _LEFT_OUT & set(command):
            return
        if "worker" in command:
            self.stop()
            log = (self._place / "worker.log").open("ab")
            with log:
                self._worker = subprocess.Popen(
                    command, cwd=self._place, env=self.env, stdout=log, stderr=log, start_new_session=True
                )
            return
        subprocess.run(command, cwd=self._place, env=self.env, check=True, capture_output=True)

    def _type(self, block: Block) -> None:
        if self._shell is None:
            self._shell = subprocess.Popen(
                [sys.executable, "-c", SHELL],
                cwd=self._place,
                env={**self.env, "DJANGO_SETTINGS_MODULE": "mysite.settings"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(json.dumps(block.text) + "\n")
        self._shell.stdin.flush()
        said = list(takewhile(lambda line: line not in ("typed\n", ""), iter(self._shell.stdout.readline, None)))
        assert self._shell.poll() is None, f"line {block.line}: the shell ended: {''.join(said)}"
        assert not said, f"line {block.line}: {''.join(said)}{self._log()}"

    def _log(self) -> str:
        path = self._place / "worker.log"
        return path.read_text() if path.exists() else ""

    def leave(self) -> None:
        """End all that was started."""
        self.stop(patience=0)
        if self._shell is not None:
            self._shell.communicate()

    def stop(self, *, patience: float = 5) -> None:
        """End the worker: as Ctrl-C would, and the hard way once patience is gone."""
        if self._worker is None:
            return
        self._worker.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._worker.wait(timeout=patience)
        with suppress(ProcessLookupError):
            os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.wait()
        self._worker = None


@contextmanager
def follower(place: Path) -> Iterator[Follower]:
    """Yield a follower; whatever it started ends with it."""
    made = Follower(place)
    try:
        yield made
    finally:
        made.leave()


@pytest.mark.acceptance
@pytest.mark.once("in a project with a database of its own")
@pytest.mark.parametrize("page", TUTORIALS, ids=name)
def test_tutorial_can_be_followed(page, tmp_path):
    with follower(tmp_path) as reader:
        for block in blocks(page):
            reader.follow(block)


def test_doctest_reads_all_of_a_tutorial():
    for page in TUTORIALS:
        typed = [block for block in blocks(page) if block.language == "pycon"]
        assert typed
        assert all(doctest.DocTestParser().get_examples(block.text) for block in typed)


# --- pages that hold the tests of a project

TESTED = [page for page in PAGES if any(Path(block.file).name.startswith("test_") for block in blocks(page))]

SETTINGS = """
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "durable", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
SECRET_KEY = "secret"
USE_TZ = True
"""


@pytest.mark.once("in a project with a database of its own")
@pytest.mark.parametrize("page", TESTED, ids=name)
def test_tests_of_a_page_pass(page, tmp_path):
    with follower(tmp_path) as reader:
        for block in filter(lambda block: block.file, blocks(page)):
            reader.follow(block)
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\nDJANGO_SETTINGS_MODULE = settings\n")
    fixtures = [] if entry_points(group="pytest11", name="durable") else ["-p", "durable.pytest_plugin"]

    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *fixtures]
    done = subprocess.run(command, cwd=tmp_path, env=reader.env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


# --- reference: complete, and no more than there is


def rows(page: Path, heading: str = "") -> dict[str, list[str]]:
    """Return the table rows under a heading, by the code in their first cell."""
    text = page.read_text()
    if heading:
        text = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return {row[0].strip("`"): row[1:] for row in cells if row[0].startswith("`")}


def test_settings_page_lists_every_setting_with_its_default():
    listed = {key: ast.literal_eval(row[0].strip("`")) for key, row in rows(REFERENCE / "settings.md", "Keys").items()}

    assert listed == {key: vars(conf.Settings)[key] for key in conf.Settings.__annotations__}


def test_settings_page_lists_every_limit_with_its_default():
    listed = rows(REFERENCE / "settings.md", "Limits")

    assert {key: int(row[0].replace(",", "").strip("`")) for key, row in listed.items()} == conf.LIMITS


def test_errors_page_lists_every_error_with_its_fields():
    listed = rows(REFERENCE / "errors.md")

    assert sorted(listed) == sorted(errors.__all__)
    for error, row in listed.items():
        kind = getattr(errors, error)
        if kind.__init__ is Exception.__init__:
            continue
        given, code = inspect.signature(kind.__init__).parameters, inspect.getsource(kind.__init__)
        kept = {field for field in given if re.search(rf"self\.{field}\b", code)}
        assert kept <= set(re.findall(r"`(\w+)`", row[0])), error


def test_events_page_lists_every_kind_with_its_data():
    listed = {kind: set(re.findall(r"`(\w+)`", row[0])) for kind, row in rows(REFERENCE / "events.md").items()}

    beside = {"at", "event_id", "name"}
    assert listed == {kind: {*events.names(cls)} - beside for kind, cls in events.KINDS.items()}


@pytest.mark.parametrize("module", [workflow, activity, client, interceptors], ids=lambda module: module.__name__)
def test_python_page_lists_what_can_be_called(module):
    listed = {re.split(r"\W", key)[0] for key in rows(REFERENCE / "python.md", module.__name__)}

    internal = {"start_definition"}  # how a definition's ``start`` gets here
    assert listed == set(module.__all__) - internal


def test_testing_page_lists_every_name_and_every_method():
    listed = {key.partition("(")[0] for key in rows(REFERENCE / "testing.md", "Names")}
    assert listed == set(testing.__all__)

    for kind in (testing.Simulation, testing.Mock, testing.Simulated, testing.Worker, testing.History):
        section = (REFERENCE / "testing.md").read_text().partition(f"\n## {kind.__name__}\n")[2].partition("\n## ")[0]
        cells = [re.findall(r"`(\w+)", line.split("|")[1]) for line in section.splitlines() if line[:2] == "| "]
        own = {name for name in vars(kind) if name[0] != "_"} - INTERNAL.get(kind, set())
        assert {name for cell in cells for name in cell} - {"used", "where"} == own


def test_testing_page_lists_every_fixture_and_every_factory_with_what_it_takes():
    made = {key for key, value in vars(pytest_plugin).items() if isinstance(value, FixtureFunctionDefinition)}
    assert set(rows(REFERENCE / "testing.md", "pytest fixtures")) == made

    listed = rows(REFERENCE / "testing.md", "Factories")
    assert set(listed) == {"InstanceFactory", "ExecutionFactory"}
    for factory, row in listed.items():
        assert set(getattr(factories, factory)._meta.declarations) <= set(re.findall(r"`(\w+)`", row[0]))


INTERNAL = {testing.Mock: {"concerns", "misfit", "rank", "use", "disappointment"}}
"""What the simulation calls, not the test."""


def test_python_page_lists_every_django_signal():
    signals = {key for key, value in vars(telemetry).items() if isinstance(value, Signal)}
    section = (REFERENCE / "python.md").read_text().partition("## Django signals")[2].partition("## ")[0]

    assert set(re.findall(r"`(instance_\w+)`", section)) - {"instance_id"} == signals


def test_checks_page_lists_every_id():
    ids = set(re.findall(r'"durable\.([EW]\d{3})"', inspect.getsource(checks)))

    ids |= {rule.check_id.removeprefix("durable.") for rule in analyzer.RULES.values()}
    assert {key.removeprefix("durable.") for key in rows(REFERENCE / "checks.md")} == ids


def test_commands_page_lists_every_command_with_its_options():
    listed = {name: set(re.findall(r"`(--[\w-]+)`", row[1])) for name, row in rows(REFERENCE / "commands.md").items()}

    assert listed == {path.stem: own_options(path.stem) for path in COMMANDS.glob("[!_]*.py")}


def own_options(command: str) -> set[str]:
    """Return the options of a command that other commands of Django do not have."""
    parsers = (load_command_class("durable", command), BaseCommand())
    own, common = ({o for a in p.create_parser("", "")._actions for o in a.option_strings} for p in parsers)
    return {option for option in own - common if option.startswith("--")}


def test_python_page_lists_every_method_of_a_handle():
    (row,) = (row for name, row in rows(REFERENCE / "python.md", "durable.client").items() if name == "Handle")

    assert set(re.findall(r"`(\w+)`", row[0])) == {"id", *(name for name in vars(client.Handle) if name[0] != "_")}


def raised(function: Any) -> set[str]:
    """Return the names of the errors that a function's docstring says it raises; that of the plain one for async."""
    name = function.__name__
    doc = inspect.getdoc(getattr(client, name.removeprefix("a")) if name in ASYNC else function) or ""
    entries = re.split(r"\n    (?=\S)", doc.partition("Raises:")[2].partition("\n\n")[0])
    return {word for entry in entries for word in re.findall(r"\w+", entry.partition(":")[0])}


ASYNC = {"aquery", "astart", "aupdate"}


def test_verbs_page_lists_the_errors_of_every_function():
    listed = {name: set(re.findall(r"`(\w+)`", row[0])) for name, row in rows(REFERENCE / "verbs.md", "Verbs").items()}

    functions = [getattr(client, name) for name in client.__all__ if inspect.isfunction(getattr(client, name))]
    internal = {"start_definition"}  # how a definition's ``start`` gets here
    assert listed == {each.__name__: raised(each) for each in functions if each.__name__ not in internal}


def test_verbs_page_says_where_each_verb_is():
    listed = rows(REFERENCE / "verbs.md", "Verbs").values()
    addresses, commands = ({name for row in listed for name in re.findall(r"`([^`]+)`", row[n])} for n in (1, 2))

    routes = {re.sub(r"<\w+:\w+>", "ID", str(route.pattern)) for route in urls.v1}
    assert addresses <= routes
    assert {f"instances/ID/{verb}/" for verb in api_verbs.VERBS} <= addresses
    assert commands <= {path.stem for path in COMMANDS.glob("[!_]*.py")}
    assert {f"durable_{verb.replace('-', '_')}" for verb in (*api_verbs.VERBS, *batch_verbs.VERBS)} <= commands


def test_verbs_page_lists_what_becomes_of_every_error_elsewhere():
    page = REFERENCE / "verbs.md"
    listed = {name: (row[0], row[1].strip("`"), row[2]) for name, row in rows(page, "Errors").items()}

    names = set().union(*(set(re.findall(r"`(\w+)`", row[0])) for row in rows(page, "Verbs").values()))
    kinds = {name: getattr(errors, name) for name in names}
    made = {name: kind.__new__(kind) for name, kind in kinds.items()}
    assert listed == {
        name: (str(problems.status_of(error)), problems.code_of(kinds[name]), str(exit_code(error)))
        for name, error in made.items()
    }


# --- links


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    tokens = MarkdownIt().parse(page.read_text())
    return {slug(inside.content) for opening, inside in pairwise(tokens) if opening.type == "heading_open"}


def links(page: Path) -> list[str]:
    inline = [token for token in MarkdownIt().parse(page.read_text()) if token.children]
    found = [child for token in inline for child in token.children or () if child.type in ("link_open", "image")]
    return [str(child.attrs.get("href") or child.attrs.get("src")) for child in found]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_resolve(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_reachable_from_the_readme():
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page) if ":" not in link}
        waiting += [target for target in targets - seen if target.suffix == ".md" and target.is_file()]

    assert {name(page) for page in PAGES} <= {name(page) for page in seen}


def test_decisions_are_numbered_without_gaps():
    numbers = [page.name[:4] for page in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))]

    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
