"""What the rules' files cannot say: sources that are not there, shared helpers, and how fast it is."""

from __future__ import annotations

import ast
import linecache
import sys
import textwrap
import types

import pytest

from durable import activity, analyzer, registry, workflow
from durable.analyzer import from_objects, sources
from durable.core.payloads import Converter
from tests import driving

HEAD = "from __future__ import annotations\nimport asyncio, time\nfrom durable import activity, workflow\n"


@pytest.fixture
def module(tmp_path, monkeypatch, fresh):
    """Return a function that writes a module and imports it."""

    def module(name: str, text: str) -> types.ModuleType:
        path = tmp_path / f"{name}.py"
        path.write_text(HEAD + textwrap.dedent(text))
        made = types.ModuleType(name)
        made.__file__ = str(path)
        monkeypatch.setitem(sys.modules, name, made)
        exec(compile(path.read_text(), path, "exec"), made.__dict__)
        return made

    return module


def rules(findings):
    return [(finding.rule, finding.line) for finding in findings]


def test_a_finding_tells_what_where_and_what_to_do(module):
    made = module(
        "shop_flows",
        """
        @workflow.defn
        async def order2() -> float:
            return time.time()
        """,
    )

    [finding] = analyzer.analyze(made.order2)

    assert finding == analyzer.Finding(
        rule="DUR002",
        message="time.time() reads the clock, and a replay reads another time",
        hint="Use workflow.time(), which replay repeats.",
        file=made.__file__,
        line=7,
        column=12,
        workflow="order2",
    )
    assert finding.severity == "error"
    assert str(finding) == f"{made.__file__}:7:12: DUR002 {finding.message}"


def test_source_that_is_not_there_gives_no_findings(fresh):
    names = {"workflow": workflow}
    exec("import time\n@workflow.defn\nasync def typed():\n    time.time()", names)

    assert analyzer.analyze(names["typed"]) == []


def test_source_that_has_changed_into_something_else_gives_no_findings(module):
    made = module("shop_flows", "@workflow.defn\nasync def order(): time.time()\n")
    with open(made.__file__, "w") as file:
        file.write("this is (no Python")

    assert analyzer.analyze(made.order) == []


def test_source_of_an_interactive_shell_is_read(fresh, monkeypatch):
    text = "import time\n@workflow.defn\nasync def typed():\n    time.time()\n"
    monkeypatch.setitem(linecache.cache, "<cell 1>", (len(text), None, text.splitlines(keepends=True), "<cell 1>"))
    names = {"workflow": workflow}
    exec(compile(text, "<cell 1>", "exec"), names)

    assert rules(analyzer.analyze(names["typed"])) == [("DUR002", 4)]


def test_what_cannot_be_looked_into_gives_no_findings(fresh):
    @activity.defn(name="lengths")
    def length(value: list[int]) -> int: ...

    definition = length.run
    for builtin in (len, print):
        object.__setattr__(length, "fn", builtin)
        assert analyzer.analyze(length) == []
    assert definition is not None
    assert analyzer.analyze_source("this is (no Python", "x.py") == []
    assert analyzer.analyze_source("\0", "x.py") == []


def test_helpers_of_two_workflows_are_reported_once(module):
    made = module(
        "shop_flows",
        """
        def pause(): time.sleep(1)

        @workflow.defn
        async def one(): pause()

        @workflow.defn
        async def two(): pause()
        """,
    )

    [finding] = analyzer.analyze_all([made.one, made.two])

    assert finding.workflow == "one"
    assert analyzer.analyze(made.two)[0].message.endswith("(in pause(), which the workflow two gets to)")


def test_helpers_of_other_modules_are_reported_where_they_stand(module):
    helpers = module("shop_helpers", "def pause(): time.sleep(1)\nclass Timer:\n    def wait(self): time.sleep(2)\n")
    made = module(
        "shop_flows",
        """
        import shop_helpers
        from shop_helpers import pause

        class Slow(shop_helpers.Timer):
            def wait(self):
                return super().wait()

        TIMER = shop_helpers.Timer()

        @workflow.defn
        async def order():
            pause()
            TIMER.wait()

        @workflow.defn
        async def late():
            from shop_helpers import Timer
            Timer().wait()
        """,
    )

    assert {(f.file, f.line) for f in analyzer.analyze(made.order)} == {(helpers.__file__, 4), (helpers.__file__, 6)}
    assert {(f.file, f.line) for f in analyzer.analyze(made.late)} == {(helpers.__file__, 6)}


def test_libraries_are_not_read():
    assert from_objects.is_project(__file__)
    assert not from_objects.is_project(ast.__file__)
    assert not from_objects.is_project(pytest.__file__)
    assert not from_objects.is_project(analyzer.__file__)
    assert not from_objects.is_project("<string>")


def test_closures_are_seen(fresh):
    import time as clock  # noqa: PLC0415 - to be a name of the closure

    wait = clock.sleep
    seen = []

    @workflow.defn
    async def order() -> None:
        clock.time()
        wait(1)
        seen.append(1)
        late()

    assert [finding.rule for finding in analyzer.analyze(order)] == ["DUR002", "DUR001", "DUR012"]

    def late() -> None:
        clock.sleep(1)

    assert [finding.rule for finding in analyzer.analyze(order)] == ["DUR002", "DUR001", "DUR012", "DUR001"]


def test_lazy_objects_are_left_alone(module):
    made = module(
        "shop_flows",
        """
        class Lazy:
            def __getattr__(self, name): raise AssertionError
            def __hash__(self): raise AssertionError
            def __eq__(self, other): raise AssertionError
            def __len__(self): raise AssertionError
            def __iter__(self): raise AssertionError
            __class__ = property(__getattr__)

        LAZY = Lazy()

        @workflow.defn
        async def order():
            LAZY.anything(1)
            LAZY.other
            for each in LAZY.all: pass
        """,
    )

    assert analyzer.analyze(made.order) == []


def test_methods_that_are_activities_are_not_read(module):
    made = module(
        "shop_flows",
        """
        class Bank:
            @activity.defn
            def pay(self, amount: int) -> str:
                time.sleep(1)

        BANK = Bank()
        activity.register(BANK)

        @workflow.defn
        async def order():
            await BANK.pay(1)
            await Bank.pay.options(queue="slow")(2)
            Bank.pay(3)
        """,
    )

    assert rules(analyzer.analyze_all([made.order, *registry.activities()])) == [("DUR015", 17)]


def test_a_converter_is_asked_about_types_of_its_own(module):
    made = module(
        "shop_flows",
        """
        class Money: ...

        @activity.defn
        def pay(amounts: list[Money]) -> Money: ...
        """,
    )

    class Knowing(Converter):
        def decode_other(self, data, kind):
            raise KeyError("currency")

    assert analyzer.analyze(made.pay) == []
    assert analyzer.analyze(made.pay, converter=Knowing()) == []
    assert [f.message for f in analyzer.analyze(made.pay, converter=Converter())] == [
        "the parameter amounts cannot be stored: no converter makes a Money from JSON",
        "the result cannot be stored: no converter makes a Money from JSON",
    ]


def test_rules_know_their_checks():
    assert [rule.check_id for rule in analyzer.RULES.values()] == [
        f"durable.W1{number:02}" for number in range(1, len(analyzer.RULES) + 1)
    ]
    assert list(analyzer.RULES) == [rule.id for rule in analyzer.RULES.values()]


def test_the_demo_is_clean_and_each_file_is_parsed_once(monkeypatch):
    parsed = []
    parse = sources.parse
    monkeypatch.setattr(sources, "parse", lambda text, file: parsed.append(file) or parse(text, file))
    definitions = [
        each for each in [*registry.workflows(), *registry.activities()] if each.fn.__module__.startswith("project.")
    ]

    assert len(definitions) > 10
    assert analyzer.analyze_all(definitions, converter=Converter()) == []
    assert parsed
    assert len(parsed) == len(set(parsed))


def test_the_acceptance_workflows_are_clean():
    with driving.definitions():
        from tests.acceptance.app import workflows  # noqa: PLC0415 - registers them

        definitions = [each for each in vars(workflows).values() if hasattr(each, "signature")]

    assert len(definitions) > 10
    assert analyzer.analyze_all(definitions, converter=Converter()) == []


def test_method_run_of_what_comes_from_a_module_of_activities_is_no_finding():
    """From the file alone nobody can tell an activity's plain function from an activity of that name."""
    code = """
from asyncio import create_task
from durable import workflow
from shop.activities import bank, charge

@workflow.defn
async def order():
    await bank.run(1)
    task = create_task(bank.run(2))
    charge.run(3)
    await task
"""

    found = analyzer.analyze_source(code, "workflows.py")

    assert [(each.rule, each.line) for each in found] == [("DUR025", 10)]
