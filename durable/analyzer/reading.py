"""Reads a function and the project's functions that it gets to, and asks every rule about every node."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from durable.analyzer import awaits, calls, direct, flow, rules, sets, state, tables
from durable.analyzer.patches import Patches
from durable.analyzer.places import Place, Problem, Rule
from durable.analyzer.rules import RULES, Finding
from durable.analyzer.things import is_a

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from durable.analyzer.scopes import Callable_, Scope
    from durable.analyzer.sources import Ignore, Source
    from durable.analyzer.things import Function, Thing

_RULES: tuple[Rule, ...] = (
    calls.calls,
    calls.uses,
    sets.order_of_set,
    flow.swallowed,
    flow.loops,
    state.shared_state,
    state.queries,
    awaits.unawaited,
    direct.past_the_history,
)
_CONSTRUCTORS = ("__new__", "__init__", "__post_init__")


class Report:
    """What was found so far.

    Attributes:
        read: The functions that were read; each is once.
    """

    def __init__(self) -> None:
        self.read: dict[Callable_, Source] = {}
        self._found: dict[tuple[str, str, int, int], Finding] = {}
        self._used: set[tuple[str, int, str]] = set()

    def add(self, problem: Problem, source: Source, workflow: str, *, via: str = "") -> None:
        """Take a problem, unless a comment on its line silences it.

        Args:
            via: The helper that it was found in.
        """
        line = getattr(problem.node, "lineno", 1)
        for ignored in {line, getattr(problem.node, "end_lineno", line)}:
            ignore = source.ignores.get(ignored)
            if ignore is not None and (not ignore.ids or problem.rule in ignore.ids):
                self._used.add((source.file, ignored, problem.rule))
                return
        reached = f" (in {via}, which the workflow {workflow} gets to)" if via else ""
        self._add(
            Finding(
                rule=problem.rule,
                message=f"{problem.message}{reached}",
                hint=problem.hint or RULES[problem.rule].hint,
                file=source.file,
                line=line,
                column=getattr(problem.node, "col_offset", 0) + 1,
                workflow=workflow,
            )
        )

    def _add(self, finding: Finding) -> None:
        # A chain of calls begins at one place, and says the same of each of its links.
        self._found.setdefault((finding.file, finding.rule, finding.line, finding.column), finding)

    def findings(self) -> list[Finding]:
        """Return what was found, in the order of the files, and the comments that silence nothing."""
        for source in dict.fromkeys(self.read.values()):
            self._check_ignores(source)
        return sorted(self._found.values(), key=lambda each: (each.file, each.line, each.column, each.rule))

    def _check_ignores(self, source: Source) -> None:
        lines = [_lines(node) for node, file in self.read.items() if file is source]
        for line, ignore in source.ignores.items():
            if not any(line in each for each in lines):
                continue  # of code that nobody read, nothing can be said
            used = {rule for file, place, rule in self._used if (file, place) == (source.file, line)}
            for rule, message in _ignore_problems(ignore, used):
                hint = RULES[rule].hint
                self._add(
                    Finding(
                        rule=rule,
                        message=message,
                        hint=hint,
                        file=source.file,
                        line=line,
                        column=ignore.column,
                        workflow="",
                    )
                )


def _ignore_problems(ignore: Ignore, used: set[str]) -> Iterator[tuple[str, str]]:
    unknown = [each for each in ignore.ids if each not in RULES]
    idle = [each for each in ignore.ids if each in RULES and each not in used]
    if unknown:
        yield rules.UNKNOWN_IGNORE, f"there is no rule {', '.join(unknown)}"
    if idle or not (ignore.ids or used):
        yield rules.UNUSED_IGNORE, f"nothing on this line breaks {', '.join(idle) or 'any rule'}"


def read(function: Function, report: Report, workflow: str) -> None:
    """Read a workflow's function, and all that it gets to."""
    waiting, patches = [(function, "")], Patches()
    while waiting:
        each, via = waiting.pop()
        if each.node not in report.read:
            report.read[each.node] = each.source
            reader = _Reader(each, report, workflow, via, patches)
            reader.read()
            waiting += [(found, f"{found.name}()") for found in reader.found]


class _Reader:
    """Reads one function.

    Attributes:
        found: The functions that it gets to.
    """

    def __init__(self, function: Function, report: Report, workflow: str, via: str, patches: Patches) -> None:
        self.found: list[Function] = []
        self._rules = (*_RULES, patches.reused)
        self._function, self._report, self._workflow, self._via = function, report, workflow, via

    def read(self) -> None:
        node = self._function.node
        self._visit_all(_body(node), self._function.scope, node)

    def _visit_all(self, nodes: Iterable[ast.AST], scope: Scope, parent: ast.AST) -> None:
        for node in nodes:
            self._visit(node, scope, parent)

    def _visit(self, node: ast.AST, scope: Scope, parent: ast.AST) -> None:
        at = Place(function=self._function, scope=scope, parent=parent)
        for rule in self._rules:
            for problem in rule(node, at):
                self._report.add(problem, self._function.source, self._workflow, via=self._via)
        self._follow(node, at)
        for inside, where in self._inside(node, at):
            self._visit(inside, where, node)

    def _inside(self, node: ast.AST, at: Place) -> Iterator[tuple[ast.AST, Scope]]:
        """Yield what a node holds, with the scope of each: not annotations, and not what a side effect runs."""
        inner = at.function.source.scopes.get(node, at.scope)
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                outside = [*getattr(node, "decorator_list", []), *node.args.defaults, *node.args.kw_defaults]
                yield from ((each, at.scope) for each in outside if each is not None)
                yield from ((each, inner) for each in _body(node))
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                first = node.generators[0]
                yield first.iter, at.scope
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.comprehension):
                        held = [child.target, *child.ifs, *([] if child is first else [child.iter])]
                        yield from ((each, inner) for each in held)
                    else:
                        yield child, inner
            case ast.ClassDef():
                yield from ((each, at.scope) for each in (*node.decorator_list, *node.bases))
                yield from ((each, inner) for each in node.body)
            case ast.AnnAssign(target=target, value=value):
                yield from ((each, at.scope) for each in (target, value) if each is not None)
            case ast.Call(func=func) if at.path(func) == tables.SIDE_EFFECT:
                yield func, at.scope
            case _:
                yield from ((each, at.scope) for each in ast.iter_child_nodes(node))

    def _follow(self, node: ast.AST, at: Place) -> None:
        """Note the functions of the project that a node gets to: whatever is named may be called."""
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            self._note(at.thing(node), at)
        elif isinstance(node, ast.Call):
            thing = at.thing(node.func)
            if thing is not None and (isinstance(thing.node, ast.ClassDef) or is_a(thing.value, type)):
                made = at.function.resolver.call(thing)
                for name in _CONSTRUCTORS if made is not None else ():
                    self._note(made and at.function.resolver.member(made, name), at)

    def _note(self, thing: Thing | None, at: Place) -> None:
        code = at.code_of(thing)
        # What is defined inside is read where it stands.
        if code is not None and not code.scope.is_within(self._function.scope):
            self.found.append(code)


def _body(node: Callable_) -> list[ast.AST]:
    return [node.body] if isinstance(node, ast.Lambda) else list(node.body)


def _lines(node: Callable_) -> range:
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return range(min(each.lineno for each in (node, *decorators)), (node.end_lineno or node.lineno) + 1)
