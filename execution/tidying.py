"""Makes lists of whatever iterates, and awaits what lies awaitable where graphql-core would await it."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from graphql.pyutils import is_awaitable, is_iterable
from graphql.pyutils.is_awaitable import is_async_iterable

from execution.plan import Entry
from schema.fields import Level


class Cut(list[Any]):
    """The items that came before iterating failed."""

    error: Exception


def tidy(entry: Entry, answers: list[Any]) -> list[Any] | Awaitable[list[Any]]:
    """Give the values of a column with plain lists in them, or what has to be awaited for them."""
    awaits = not isinstance(entry.source, Level)  # what a level function gave has been awaited already
    depth = entry.depth
    if (depth == 0 and not awaits) or _is_tidy(entry, answers):
        return answers
    values = [_listed(answer, depth) for answer in answers]
    if any(_waits(value, depth, awaits=awaits) for value in values):
        return _awaited_all(values, depth, awaits=awaits)
    if entry.is_leaf:
        _learn(entry, values)
    return values


def _is_tidy(entry: Entry, answers: list[Any]) -> bool:
    """Tell whether all classes are known from before."""
    plain = entry.plain
    if entry.depth == 0:
        return plain.issuperset(map(type, answers))
    for answer in answers:
        is_list = answer.__class__ is list or answer.__class__ is tuple
        if answer is not None and not (is_list and plain.issuperset(map(type, answer))):
            return False
    return True


def _learn(entry: Entry, values: list[Any]) -> None:
    """Remember the classes of leaf values: a class cannot become awaitable later."""
    if entry.depth == 0:
        entry.plain.update(map(type, values))
    elif entry.depth == 1:
        for value in values:
            if isinstance(value, list | tuple):
                entry.plain.update(map(type, value))


def _listed(value: Any, depth: int) -> Any:
    if depth == 0 or value is None or is_awaitable(value) or is_async_iterable(value) or not is_iterable(value):
        return value
    items = value if isinstance(value, list | tuple) else _drained(value)
    return items if depth == 1 else like(items, [_listed(item, depth - 1) for item in items])


def like(items: Any, others: list[Any]) -> list[Any]:
    """Keep with a list of other items that iterating failed after them."""
    if isinstance(items, Cut):
        cut = Cut(others)
        cut.error = items.error
        return cut
    return others


def _drained(iterable: Any) -> list[Any]:
    items = Cut()
    try:
        items.extend(iterable)
    except Exception as error:  # noqa: BLE001 - told as the field's error, after those of the items
        items.error = error
        return items
    return list(items)


def _waits(value: Any, depth: int, *, awaits: bool) -> bool:
    if awaits and is_awaitable(value):
        return True
    if depth == 0:
        return False
    if is_async_iterable(value):
        return True
    return isinstance(value, list | tuple) and any(_waits(item, depth - 1, awaits=True) for item in value)


async def _awaited_all(values: list[Any], depth: int, *, awaits: bool) -> list[Any]:
    return list(await asyncio.gather(*(_awaited(value, depth, awaits=awaits) for value in values)))


async def _awaited(value: Any, depth: int, *, awaits: bool) -> Any:
    if awaits and is_awaitable(value):
        try:
            value = await value
        except Exception as error:  # noqa: BLE001 - told as the error of the place where it lay
            return error
    value = await _drained_async(value) if depth and is_async_iterable(value) else _listed(value, depth)
    if depth == 0 or not isinstance(value, list | tuple):
        return value
    return like(value, await _awaited_all(list(value), depth - 1, awaits=True))


async def _drained_async(iterable: Any) -> list[Any]:
    items = Cut()
    try:
        async for item in iterable:
            items.append(item)
    except Exception as error:  # noqa: BLE001 - told as the field's error, after those of the items
        items.error = error
        return items
    return list(items)
