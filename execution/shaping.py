"""Sorts what a field gave into the levels below: one for each type, in order, and remembers what became of each value.

What became of a value is its shape. In a column that leads on, None stands for all values being the objects of the one
level below; otherwise there is a shape for each parent: an `Item`, a slice of the level below, null, an error, or a
list of shapes.
"""

from collections.abc import Awaitable, Iterator, Sequence
from typing import Any

from graphql import GraphQLError, GraphQLObjectType, Undefined, is_abstract_type, is_list_type, is_non_null_type
from graphql.execution.executor import invalid_return_type_error, to_nodes
from graphql.pyutils import is_awaitable
from graphql.type import GraphQLResolveInfo

from execution.levels import Level, Place, Run, item_path
from execution.plan import Entry
from execution.tidying import Cut, like


class Item:
    """One object that a field gave: which of the levels below it came to, and its index there."""

    __slots__ = ("error", "index", "number", "owner", "positions", "value")

    def __init__(self, value: Any, owner: int, positions: tuple[int, ...]) -> None:
        self.value = value
        self.owner = owner
        self.positions = positions
        self.error: Exception | None = None
        self.number = self.index = 0


def shape(run: Run, level: Level, entry: Entry, values: list[Any]) -> Awaitable[None] | None:
    """Make the levels below from a column's values; gives what has to be awaited for it, if anything."""
    shaping = _Shaping(run, entry)
    level.columns[entry.column] = [
        shaping.shape(value, entry.type, Item(value, owner, ())) for owner, value in enumerate(values)
    ]
    items = shaping.items
    types = [_type_of(run, level, entry, item) for item in items]
    if any(map(is_awaitable, types)):
        return _sort_later(level, entry, items, types, run)
    _sort(run, level, entry, items, types)
    return None


def shape_plain(level: Level, entry: Entry, values: list[Any]) -> bool:
    """Make the level below in the short way: where all classes are known from before, and nothing is null.

    Nothing that is of such a class has to be awaited, either: the values need not be tidied first.
    """
    plain, shapes, objects = entry.plain, None, values
    if entry.depth > 1 or entry.asks_type:
        return False
    if entry.depth == 0:
        if not plain.issuperset(map(type, values)):
            return False
    else:
        shapes, objects = [], []
        for value in values:
            if (value.__class__ is not list and value.__class__ is not tuple) or not plain.issuperset(map(type, value)):
                return False
            start = len(objects)
            objects.extend(value)
            shapes.append(slice(start, len(objects)))
    level.columns[entry.column] = shapes
    level.below[entry.column] = (Level(entry.branches[entry.named], objects),)
    return True


class _Shaping:
    """Finds the objects in what a field gave, with the lists around them."""

    def __init__(self, run: Run, entry: Entry) -> None:
        self._run = run
        self._entry = entry
        self.items: list[Item] = []

    def shape(self, value: Any, type_: Any, item: Item) -> Any:
        run = self._run
        if isinstance(value, Exception):
            run.failed = True
            return value
        if is_non_null_type(type_):
            type_ = type_.of_type
            run.failed = run.failed or value is None or value is Undefined
        if value is None or value is Undefined:
            return None
        if is_list_type(type_):
            return self._list(value, type_.of_type, item)
        self.items.append(item)
        return item

    def _list(self, values: Any, item_type: Any, around: Item) -> Any:
        run, entry = self._run, self._entry
        if not isinstance(values, list | tuple):
            run.failed = True
            return GraphQLError(f"Expected Iterable, but did not find one for field '{entry.parent}.{entry.name}'.")
        shapes = [
            self.shape(value, item_type, Item(value, around.owner, (*around.positions, position)))
            for position, value in enumerate(values)
        ]
        run.failed = run.failed or isinstance(values, Cut)
        return like(values, shapes)


def _type_of(run: Run, level: Level, entry: Entry, item: Item) -> Any:
    """Give the type of an object, the error that it has none, or what has to be awaited for either."""
    try:
        if not entry.asks_type:
            return _checked_by_class(entry, item.value)
        info = _info(run, level, entry, item)
        if not is_abstract_type(entry.named):
            return _checked(entry, entry.named, item.value, info)
        resolve = entry.named.resolve_type or run.core.type_resolver
        name = resolve(item.value, info, entry.named)
        if is_awaitable(name):
            return _resolved(run, entry, item.value, info, name)
        return _checked(entry, _named(run, entry, item.value, info, name), item.value, info)
    except Exception as error:  # noqa: BLE001 - told as the object's error
        return error


def _info(run: Run, level: Level, entry: Entry, item: Item) -> GraphQLResolveInfo[Any]:
    path = item_path(level.place, entry, item.owner, item.positions)
    return run.core.build_resolve_info(entry.field, to_nodes(entry.details), entry.parent, path)


def _checked_by_class(entry: Entry, value: Any) -> GraphQLObjectType:
    type_: GraphQLObjectType = entry.named
    if type_.is_type_of is not None and not type_.is_type_of(value, None):  # type: ignore[arg-type] # asks for the class alone
        raise invalid_return_type_error(type_, value, entry.details)
    if not is_awaitable(value):
        entry.plain.add(type(value))
    return type_


def _checked(entry: Entry, type_: GraphQLObjectType, value: Any, info: GraphQLResolveInfo[Any]) -> Any:
    is_of_type = type_.is_type_of is None or type_.is_type_of(value, info)
    if is_awaitable(is_of_type):
        return _checked_later(entry, type_, value, is_of_type)
    if not is_of_type:
        raise invalid_return_type_error(type_, value, entry.details)
    return type_


async def _checked_later(entry: Entry, type_: GraphQLObjectType, value: Any, is_of_type: Awaitable[bool]) -> Any:
    if not await is_of_type:
        raise invalid_return_type_error(type_, value, entry.details)
    return type_


def _named(run: Run, entry: Entry, value: Any, info: GraphQLResolveInfo[Any], name: Any) -> GraphQLObjectType:
    return run.core.ensure_valid_runtime_type(name, entry.named, entry.details, info, value)


async def _resolved(run: Run, entry: Entry, value: Any, info: GraphQLResolveInfo[Any], name: Awaitable[Any]) -> Any:
    type_ = _checked(entry, _named(run, entry, value, info, await name), value, info)
    return await type_ if is_awaitable(type_) else type_


async def _sort_later(level: Level, entry: Entry, items: list[Item], types: list[Any], run: Run) -> None:
    for place, type_ in enumerate(types):
        if is_awaitable(type_):
            try:
                types[place] = await type_
            except Exception as error:  # noqa: BLE001 - told as the object's error
                types[place] = error
    _sort(run, level, entry, items, types)


def _sort(run: Run, level: Level, entry: Entry, items: list[Item], types: Sequence[Any]) -> None:
    """Put each object into the level of its type."""
    numbers: dict[GraphQLObjectType, int] = {}
    below: list[list[Item]] = []
    for item, type_ in zip(items, types, strict=True):
        if isinstance(type_, Exception):
            run.failed, item.error = True, type_
            continue
        number = numbers.setdefault(type_, len(below))
        if number == len(below):
            below.append([])
        item.number, item.index = number, len(below[number])
        below[number].append(item)
    level.below[entry.column] = [
        Level(entry.branches[type_], [item.value for item in below[number]], _place(run, level, entry, below[number]))
        for type_, number in numbers.items()
    ]


def _place(run: Run, level: Level, entry: Entry, items: Sequence[Item]) -> Place | None:
    if not run.plan.traces:
        return None
    return Place(level.place, entry, [item.owner for item in items], [item.positions for item in items])


def shapes_of(shapes: Any) -> Iterator[Any]:
    """Go through the shapes of a list."""
    return iter(range(shapes.start, shapes.stop)) if isinstance(shapes, slice) else iter(shapes)
