"""Turns finished levels into the response: by the generated functions, or step by step with the errors located.

Both work on the same columns: nothing is resolved twice. Step by step means what graphql-core does: an error nulls its
field, or the next that may be null above it, and is told once with its path.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

from graphql import ExecutionResult, GraphQLError, Undefined, is_list_type, is_non_null_type, located_error
from graphql.execution import Executor
from graphql.execution.executor import to_nodes
from graphql.pyutils import is_awaitable, is_iterable

from execution.levels import Level, Run
from execution.plan import INLINE, Entry
from execution.shaping import Item, shapes_of
from execution.tidying import Cut


def complete(run: Run, level: Level) -> ExecutionResult | Awaitable[ExecutionResult]:
    """Give the response of the root level."""
    if not run.failed:
        try:
            return ExecutionResult(_build(level)[0], None)
        except Exception:  # noqa: BLE001 - whatever is wrong, the steps find it and say where
            run.failed = True
    inline, waiting = _read_inline(level)
    if waiting:
        return _complete_later(level, inline, waiting)
    return _Steps(inline).result(level)


def _build(level: Level) -> list[dict[str, Any]]:
    selection = level.selection
    columns = level.columns
    if selection.branching:
        columns = columns.copy()
        for entry in selection.branching:
            place = entry.column
            below, shapes = level.below[place], columns[place]
            if shapes is None:
                columns[place] = _build(below[0])
            else:
                outputs = list(map(_build, below))
                columns[place] = [_assembled(shape, outputs) for shape in shapes]
    return selection.build(level.objects, columns, level.masks)


def _assembled(shape: Any, outputs: list[list[dict[str, Any]]]) -> Any:
    if shape is None:
        return None
    if shape.__class__ is slice:
        return outputs[0][shape]
    if shape.__class__ is Item:
        return outputs[shape.number][shape.index]
    return [_assembled(item, outputs) for item in shape]


_Inline = dict[tuple[int, str], list[Any]]
"""By level and key: the values that the generated functions read themselves."""


def _read_inline(level: Level) -> tuple[_Inline, list[tuple[list[Any], int]]]:
    """Read them for the steps; gives also where something has to be awaited."""
    inline: _Inline = {}
    waiting = []
    for each in _levels(level):
        for entry in each.selection.entries:
            if entry.column == INLINE and entry.source is not None:
                values = inline[id(each), entry.key] = [_read(each, entry, index) for index in range(len(each.objects))]
                waiting += [(values, index) for index, value in enumerate(values) if is_awaitable(value)]
    return inline, waiting


def _levels(level: Level) -> Iterator[Level]:
    yield level
    for levels in level.below.values():
        for below in levels:
            yield from _levels(below)


def _read(level: Level, entry: Entry, index: int) -> Any:
    if entry.bit and not level.masks[index] & entry.bit:
        return None
    try:
        return entry.read(level.objects[index])
    except Exception as error:  # noqa: BLE001 - told as the field's error
        return error


async def _complete_later(level: Level, inline: _Inline, waiting: list[tuple[list[Any], int]]) -> ExecutionResult:
    found = await asyncio.gather(*(values[index] for values, index in waiting), return_exceptions=True)
    for (values, index), value in zip(waiting, found, strict=True):
        values[index] = value
    return _Steps(inline).result(level)


class _Steps:
    """Completes value by value, in the order of the document."""

    def __init__(self, inline: _Inline) -> None:
        self._inline = inline
        self._errors: list[GraphQLError] = []

    def result(self, level: Level) -> ExecutionResult:
        try:
            data = self._object(level, 0, [])
        except GraphQLError as error:
            self._errors.append(error)
            data = None
        return ExecutionResult(data, self._errors or None)

    def _object(self, level: Level, index: int, path: list[str | int]) -> dict[str, Any]:
        return {entry.key: self._field(level, index, entry, [*path, entry.key]) for entry in level.selection.entries}

    def _field(self, level: Level, index: int, entry: Entry, path: list[str | int]) -> Any:
        return self._located(level, entry, entry.type, self._value(level, index, entry), path)

    def _value(self, level: Level, index: int, entry: Entry) -> Any:
        if entry.source is None:
            return level.selection.type.name
        if entry.column == INLINE:
            return self._inline[id(level), entry.key][index]
        column = level.columns[entry.column]
        return index if column is None else column[index]

    def _located(self, level: Level, entry: Entry, type_: Any, value: Any, path: list[str | int]) -> Any:
        """Complete a value; its error is told here and leaves null, unless null may not be here."""
        try:
            return self._completed(level, entry, type_, value, path)
        except Exception as raised:  # noqa: BLE001 - every error of a field is located
            error = located_error(raised, to_nodes(entry.details), path)
        if is_non_null_type(type_):
            raise error
        self._errors.append(error)
        return None

    def _completed(self, level: Level, entry: Entry, type_: Any, value: Any, path: list[str | int]) -> Any:
        if isinstance(value, Exception):
            raise value
        if is_non_null_type(type_):
            completed = self._completed(level, entry, type_.of_type, value, path)
            if completed is None:
                raise TypeError(f"Cannot return null for non-nullable field {entry.parent}.{entry.name}.")
            return completed
        if value is None or value is Undefined:
            return None
        if is_list_type(type_):
            return self._list(level, entry, type_.of_type, value, path)
        if entry.is_leaf:
            return Executor.complete_leaf_value(type_, value)
        return self._below(level, entry, value, path)

    def _list(self, level: Level, entry: Entry, item_type: Any, values: Any, path: list[str | int]) -> list[Any]:
        if not isinstance(values, slice) and not is_iterable(values):
            raise GraphQLError(f"Expected Iterable, but did not find one for field '{entry.parent}.{entry.name}'.")
        completed = [
            self._located(level, entry, item_type, value, [*path, position])
            for position, value in enumerate(shapes_of(values))
        ]
        if isinstance(values, Cut):
            raise values.error
        return completed

    def _below(self, level: Level, entry: Entry, shape: Any, path: list[str | int]) -> dict[str, Any]:
        levels = level.below[entry.column]
        if not isinstance(shape, Item):
            return self._object(levels[0], shape, path)
        if shape.error is not None:
            raise shape.error
        return self._object(levels[shape.number], shape.index, path)
