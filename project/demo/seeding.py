"""Stores many instances at once: one of each story, as the engine would leave it, and then copies of its rows."""

from __future__ import annotations

import random
import re
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from django.db import models, transaction

from durable import conf
from durable.fields import Dumped, JSONText
from durable.models import ActivityTask, Execution, HistoryEvent, InboxEvent, Instance, Operation
from project.demo import pouring
from project.demo.stories import NUMBER, stories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TABLES = (Instance, Execution, HistoryEvent, ActivityTask, InboxEvent, Operation)
_FIRST = 100_001
_AT_ONCE = 1000
EVENTS_EACH, _LONG_ONES, _FEW = 8, 10, 6
"""How many events an instance has on average, which part of them are long, and how many activities those have then."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """The rows of one story.

    Attributes:
        rows: The values of each row, by table: JSON as a text, and only what is set.
        executions: The ids of its executions.
        share: How many of a thousand instances are such.
        days: How long ago the oldest copy shall have been.
    """

    rows: dict[type[models.Model], list[dict[str, Any]]]
    executions: tuple[uuid.UUID, ...]
    share: int
    days: float

    @cached_property
    def sheet(self) -> pouring.Sheet:
        """The same as text."""
        return pouring.sheet(self.rows, self.executions, self.days)


Batch = list[tuple[int, Template]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """How much was stored."""

    instances: int = 0
    executions: int = 0
    events: int = 0


def seed(count: int, *, events_each: int = EVENTS_EACH, progress: Callable[[int], None] = lambda done: None) -> Seeded:
    """Store instances in batches, each in a transaction of its own.

    Args:
        count: How many, at least; what has children is stored with them.
        events_each: How many events their histories are to have on average; 8 is the least.
        progress: Called with how many there are so far.
    """
    known = templates(chunks=_FEW + max(0, events_each - EVENTS_EACH) * _LONG_ONES // 2)
    first = _first_number()
    chance = random.Random(first)  # noqa: S311 - the same instances every time
    stored: Counter[type[models.Model]] = Counter()
    for batch in batches(count, known, first, chance):
        with transaction.atomic(using=conf.settings.DATABASE):
            stored.update(_pour(batch, chance) if pouring.fits() else _create(batch, chance))
        progress(stored[Instance])
    if pouring.fits():
        pouring.settle(_TABLES)
    return Seeded(instances=stored[Instance], executions=stored[Execution], events=stored[HistoryEvent])


def batches(count: int, known: list[Template], first: int, chance: random.Random) -> Iterator[Batch]:
    """Yield what to store at once, until there are so many instances."""
    batch: Batch = []
    waiting = 0
    for number, template in enumerate(_chosen(known, chance), first):
        batch.append((number, template))
        waiting += len(template.rows[Instance])
        if waiting >= min(_AT_ONCE, count):
            yield batch
            count -= waiting
            batch, waiting = [], 0
        if count <= 0:
            return


def _first_number() -> int:
    """Return a number from which on no id has any."""
    ids = Instance.objects.using(conf.settings.DATABASE).order_by().values_list("pk", flat=True)
    used = [int(found[0]) for pk in ids.iterator() if (found := re.findall(r"-(\d{6,9})$", pk))]
    return max(used, default=_FIRST - 1) + 1


def _chosen(known: list[Template], chance: random.Random) -> Iterator[Template]:
    """Yield each template once, and then as often as their shares say."""
    yield from known
    shares = [template.share for template in known]
    while True:
        yield from chance.choices(known, shares, k=_AT_ONCE)


def _create(batch: Batch, chance: random.Random) -> Counter[type[models.Model]]:
    """Store instances as any database does it, and return how many rows of each table."""
    made: dict[type[models.Model], list[models.Model]] = {table: [] for table in _TABLES}
    for number, template in batch:
        for table, copied in copies(template, number, chance):
            made[table].append(copied)
    for table, rows in made.items():
        table._base_manager.using(conf.settings.DATABASE).bulk_create(rows, batch_size=_AT_ONCE)
    return Counter({table: len(rows) for table, rows in made.items()})


def _pour(batch: Batch, chance: random.Random) -> Counter[type[models.Model]]:
    """Do the same in a tenth of the time, where the database can."""
    made = [pouring.filled(template.sheet, number, chance) for number, template in batch]
    for table in _TABLES:
        pouring.pour(table, (texts[table] for texts in made))
    return Counter({table: sum(len(template.rows[table]) for _number, template in batch) for table in _TABLES})


def templates(*, chunks: int = _FEW) -> list[Template]:
    """Return the rows of each story; none of them is stored."""
    return [_template(story.share, story.days, story.store) for story in stories(chunks)]


def _template(share: int, days: float, store: Callable[[], Any]) -> Template:
    database = conf.settings.DATABASE
    with transaction.atomic(using=database):
        store()
        ours = Instance.objects.using(database).filter(pk__contains=str(NUMBER))
        executions = list(Execution.objects.using(database).filter(instance__in=ours))
        keys = [execution.pk for execution in executions]
        found: dict[type[models.Model], list[Any]] = {
            Instance: list(ours),
            Execution: executions,
            **{t: list(t._base_manager.using(database).filter(execution_id__in=keys)) for t in _TABLES[2:5]},
            Operation: list(Operation.objects.using(database).filter(instance_id__contains=str(NUMBER))),
        }
        transaction.set_rollback(True, using=database)
    rows: dict[type[models.Model], list[dict[str, Any]]] = {
        table: [_values(row) for row in found[table]] for table in _TABLES
    }
    return Template(rows=rows, executions=tuple(keys), share=share, days=days)


def _values(row: models.Model) -> dict[str, Any]:
    """Return the values of a row; JSON as its text, in bytes, so that it differs from other texts."""
    values: dict[str, Any] = {}
    for column in row._meta.local_concrete_fields:
        value = getattr(row, column.attname)
        if isinstance(column, models.AutoField) or value is None:
            continue
        if isinstance(column, JSONText | models.JSONField):
            values[column.attname] = msgspec.json.encode(value)
        else:
            values[column.attname] = value
    return values


def copies(template: Template, number: int, chance: random.Random) -> Iterator[tuple[Any, models.Model]]:
    """Yield the rows, not saved, of another instance with the same story.

    Args:
        template: The story.
        number: The number that it gets.
        chance: Where its times and ids come from.
    """
    keys = {old: uuid.UUID(int=chance.getrandbits(128), version=4) for old in template.executions}
    texts = {str(NUMBER): str(number), **{str(old): str(new) for old, new in keys.items()}}
    pattern = re.compile("|".join(texts))
    # Many lately, few long ago; none so lately that it would end in the future.
    later = -timedelta(hours=1) - timedelta(days=template.days * chance.random() ** 2)

    def anew(text: str) -> str:
        return pattern.sub(lambda found: texts[found[0]], text)

    for table, rows in template.rows.items():
        for row in rows:
            yield table, table(**{name: _anew(table, name, value, anew, keys, later) for name, value in row.items()})


def _anew(
    table: type[models.Model],
    name: str,
    value: Any,
    anew: Callable[[str], str],
    keys: dict[uuid.UUID, uuid.UUID],
    later: timedelta,
) -> Any:
    match value:
        case bytes():
            text = anew(value.decode())
            if table is HistoryEvent and '"fire_at"' in text:
                text = _postponed(text, later)
            own = isinstance(table._meta.get_field(name), JSONText)
            return Dumped(conf.codec().encode(text)) if own else msgspec.json.decode(text)
        case str():
            return anew(value)
        case uuid.UUID():
            return keys.get(value, value)
        case datetime():
            return value + later
    return value


def _postponed(text: str, later: timedelta) -> str:
    event = msgspec.json.decode(text)
    event["fire_at"] += later.total_seconds()
    return msgspec.json.encode(event).decode()
