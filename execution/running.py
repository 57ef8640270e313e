"""Runs a plan breadth first: each level asks each of its columns once, then the levels below it run.

Nothing here is awaited unless a level function really has to wait. The functions give None when they are done, or what
has to be awaited for them to be; at most one column of a task is begun and waiting, all after it are tasks.
"""

import asyncio
import functools
import operator
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import CoroutineType
from typing import Any, Final

from domain.waiting import Begun, begin
from execution.levels import Level, Run
from execution.plan import Entry
from execution.shaping import shape, shape_plain
from execution.tidying import tidy

_WAITING: Final = (Begun, Awaitable)
Waiting = Awaitable[None] | None
Step = Callable[[], Waiting]


def run_level(run: Run, level: Level) -> Waiting:
    """Ask every column of a level and of the levels below."""
    selection = level.selection
    if selection.mask is not None:
        level.masks = masks = list(map(selection.mask, level.objects))
        level.shown = masks[0] if len(masks) == 1 else functools.reduce(operator.and_, {*masks}, -1)
    for entry in selection.columns:
        waiting = run_column(run, level, entry)
        if waiting is not None:
            rest = selection.columns[entry.column + 1 :]
            if not rest:
                return waiting
            return _together(waiting, [functools.partial(run_column, run, level, other) for other in rest])
    return None


def run_levels(run: Run, levels: Sequence[Level]) -> Waiting:
    """Run several levels side by side."""
    for place, level in enumerate(levels):
        waiting = run_level(run, level)
        if waiting is not None:
            return _together(waiting, [functools.partial(run_level, run, other) for other in levels[place + 1 :]])
    return None


async def _together(begun: Awaitable[None], steps: Iterable[Step]) -> None:
    """Await what waits already in this task, while tasks of their own take the further steps."""
    tasks = [asyncio.create_task(_whole(step)) for step in steps]
    try:
        await begun
        for task in tasks:
            await task
    finally:
        for task in tasks:
            task.cancel()


async def _whole(step: Step) -> None:
    waiting = step()
    if waiting is not None:
        await waiting


def run_column(run: Run, level: Level, entry: Entry) -> Waiting:
    """Ask one field of all objects of the level of which it shows."""
    objects, arguments = level.objects, entry.arguments
    if arguments.__class__ is not dict:  # they depend on the request, or cannot be had
        arguments = run.arguments(entry)
        if isinstance(arguments, Exception):
            return settle(run, level, entry, [arguments] * len(objects))
    shown = _shown(level, entry.bit) if entry.bit & ~level.shown else None
    if shown is not None:
        objects = [objects[index] for index in shown]
    function, app = entry.function, run.context.app
    answers: Any
    try:
        if function is None or not objects:
            answers = _read_all(entry, objects)
        else:
            answers = function(app, objects, **arguments) if arguments else function(app, objects)
            if answers.__class__ is not list or len(answers) != len(objects):
                answers = _begun(answers, len(objects))
    except Exception as error:  # noqa: BLE001 - told as the error of each object
        answers = [error] * len(objects)
    if answers.__class__ is not list:
        return _settle_later(run, level, entry, answers, shown)
    if shown is not None:
        answers = _spread(answers, shown, len(level.objects))
    if entry.is_settled:
        level.columns[entry.column] = answers
        return None
    return settle(run, level, entry, answers)


async def _settle_later(run: Run, level: Level, entry: Entry, answers: Any, shown: list[int] | None) -> None:
    expected = len(level.objects) if shown is None else len(shown)
    try:
        values = _checked(await answers, expected)
    except Exception as error:  # noqa: BLE001 - told as the error of each object
        values = [error] * expected
    waiting = settle(run, level, entry, values if shown is None else _spread(values, shown, len(level.objects)))
    if waiting is not None:
        await waiting


def settle(run: Run, level: Level, entry: Entry, answers: list[Any]) -> Waiting:
    """Keep what a field gave, and run the levels that it leads to."""
    if not (entry.is_leaf or run.plan.traces) and shape_plain(level, entry, answers):
        return run_level(run, level.below[entry.column][0])
    values = tidy(entry, answers)
    if values.__class__ is not list:
        return _settle_tidied(run, level, entry, values)
    return _descend(run, level, entry, values)


async def _settle_tidied(run: Run, level: Level, entry: Entry, values: Any) -> None:
    waiting = _descend(run, level, entry, await values)
    if waiting is not None:
        await waiting


def _descend(run: Run, level: Level, entry: Entry, values: list[Any]) -> Waiting:
    if entry.is_leaf:
        level.columns[entry.column] = values
        return None
    waiting = shape(run, level, entry, values)
    if waiting is not None:
        return _descend_later(run, level, entry, waiting)
    return _run_below(run, level.below[entry.column])


async def _descend_later(run: Run, level: Level, entry: Entry, shaping: Awaitable[None]) -> None:
    await shaping
    waiting = _run_below(run, level.below[entry.column])
    if waiting is not None:
        await waiting


def _run_below(run: Run, levels: Sequence[Level]) -> Waiting:
    return run_level(run, levels[0]) if len(levels) == 1 else run_levels(run, levels)


def _shown(level: Level, bit: int) -> list[int] | None:
    """Give the indexes of the objects of which a field of a group shows."""
    return [index for index, mask in enumerate(level.masks) if mask & bit]


def _spread(values: list[Any], shown: list[int], number: int) -> list[Any]:
    """Put null where a field does not show."""
    spread: list[Any] = [None] * number
    for index, value in zip(shown, values, strict=True):
        spread[index] = value
    return spread


def _begun(answers: Any, expected: int) -> Any:
    """Give the answers as a list of the right length, or what has to be awaited for them."""
    if answers.__class__ is CoroutineType:
        answers = begin(answers)
    return answers if isinstance(answers, _WAITING) else _checked(answers, expected)


def _checked(answers: Sequence[Any], expected: int) -> list[Any]:
    values = answers if answers.__class__ is list else list(answers)
    if len(values) != expected:
        raise ValueError(f"A level function gave {len(values)} answers for {expected} objects.")
    return values


def _read_all(entry: Entry, objects: Sequence[Any]) -> list[Any]:
    try:
        return list(map(entry.read, objects))
    except Exception:  # noqa: BLE001 - one of them fails; find out which
        return [_read_one(entry.read, source) for source in objects]


def _read_one(read: Callable[[Any], Any], source: object) -> Any:
    try:
        return read(source)
    except Exception as error:  # noqa: BLE001 - told as the object's error
        return error
