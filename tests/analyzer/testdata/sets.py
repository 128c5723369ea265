"""Sets, whose order differs between processes."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet

from durable import activity, workflow

KINDS = {"book", "toy"}
NUMBERS = frozenset({1, 2, 3})


@activity.defn
def note(word: str) -> None: ...


@workflow.defn
async def depends_on_order(words: list[str], given: set[str], other: AbstractSet) -> list[str]:
    for word in {"a", "b"}:  # want: DUR013 the order of the set {'a', 'b'}
        await note(word)
    for word in set(words):  # want: DUR013 set(words)
        await note(word)
    unique = set(words)
    for word in unique:  # want: DUR013 unique
        await note(word)
    await asyncio.gather(*(note(word) for word in {word.lower() for word in words}))  # want: DUR013 lower
    await asyncio.gather(*map(note, unique))  # want: DUR013 unique
    first, *rest = unique  # want: DUR013 unique
    for word in KINDS:  # want: DUR013 KINDS
        await note(word)
    for word in given | {"x"}:  # want: DUR013 given
        await note(word)
    for word in given:  # want: DUR013 given
        await note(word)
    list(other)  # want: DUR013 other
    unique.pop()  # want: DUR013 unique
    ", ".join(unique)  # want: DUR013 unique
    next(iter(unique))  # want: DUR013 unique
    for word in {"a": 1}.keys() - {"b"}:  # want: DUR013 keys()
        await note(word)
    seen = set()
    for word in words:
        seen.add(word)
    more = seen if words else {"b"}
    [*more]  # want: DUR013 more
    {word: 1 for word in unique.union(words)}  # want: DUR013 unique.union(words)
    return [word for word in unique]  # want: DUR013 unique


@workflow.defn
async def depends_on_no_order(words: list[str], numbers: set[int], unordered: dict[str, int]) -> int:
    unique = set(words)
    for word in sorted(unique):
        await note(word)
    for word in sorted(word.lower() for word in unique):
        await note(word)
    for number in {1, 2, 3}:
        await note(str(number))
    for number in NUMBERS:
        await note(str(number))
    for number in set(range(3)):
        await note(str(number))
    for number in numbers:
        await note(str(number))
    for word in unordered:
        await note(word)
    if "a" in unique and len(unique) > 1:
        return max(len(word) for word in unique)
    {word.lower() for word in unique}
    tasks = set()
    for word in words:
        task = asyncio.create_task(note(word))
        tasks.add(task)
    for task in tasks:
        task.cancel()
    async with asyncio.TaskGroup() as group:
        running = {group.create_task(note(word)) for word in words}
    for task in running:
        task.cancel()
    done, _ = await asyncio.wait(running)
    set = list
    return sum(set(numbers)) + sum({len(word) for word in unique})
