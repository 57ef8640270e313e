"""What one execution of a plan consists of: levels of objects, their columns, and where they stand in the response."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from graphql.execution import Executor, default_field_resolver, default_type_resolver
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Path

from execution.plan import Entry, Plan, Selection
from schema.fields import OperationContext


class Place:
    """Where the objects of a level stand in the response; the path of one is made only when it is asked for."""

    __slots__ = ("above", "entry", "owners", "positions")

    def __init__(
        self, above: "Place | None", entry: Entry, owners: list[int], positions: list[tuple[int, ...]]
    ) -> None:
        self.above = above
        self.entry = entry
        self.owners = owners
        self.positions = positions

    def path(self, index: int) -> Path:
        """Give the path of the object at an index of the level."""
        return item_path(self.above, self.entry, self.owners[index], self.positions[index])


def item_path(above: Place | None, entry: Entry, owner: int, positions: tuple[int, ...]) -> Path:
    """Give the path of what a field gives for one of its parents, or of an item of it."""
    path = Path(above.path(owner) if above is not None else None, entry.key, entry.parent.name)
    for position in positions:
        path = Path(path, position, None)
    return path


class Level(msgspec.Struct, eq=False):
    """All objects of one type at one place, and what their fields gave."""

    selection: Selection
    objects: Sequence[Any]
    place: Place | None = None
    columns: dict[int, Any] = {}
    """Of a leaf its values; of a field that leads on, for each parent what it became (`execution.shaping`)."""
    below: dict[int, Sequence["Level"]] = {}
    """By the columns that lead on."""
    masks: Sequence[int] = ()
    """For each object the groups that show."""
    shown: int = 0
    """The groups that show of all objects."""


class Run(msgspec.Struct, eq=False):
    """One execution of a plan."""

    plan: Plan
    context: OperationContext
    root: object
    variables: VariableValues
    failed: bool = False
    """Whether something is known to be an error, so that the response must be completed step by step."""
    _core: Executor[Any] | None = None

    @property
    def core(self) -> Executor[Any]:
        """Give graphql-core's executor, for what it knows better: types at run time, resolve info."""
        if self._core is None:
            outline = self.plan.outline
            self._core = Executor(
                outline.schema,
                outline.definitions,
                outline.fragments,
                self.root,
                self.context,
                outline.operation,
                self.variables,
                default_field_resolver,
                default_type_resolver,
                default_field_resolver,
                hide_suggestions=True,
            )
        return self._core

    def arguments(self, entry: Entry) -> Mapping[str, Any] | Exception:
        """Give the arguments of a level function, or the error that coercing them gives."""
        if entry.arguments is not None:
            return entry.arguments
        if entry.plain_variables:
            coerced, given = self.variables.coerced, {**entry.constants}
            for name, variable, may_be_null in entry.plain_variables:
                value = coerced.get(variable)
                given[name] = [*value] if value.__class__ is list else value  # a default is there for all requests
                if value is None and not may_be_null:
                    break  # an error, which is found below
            else:
                return given
        try:
            node = entry.details[0].node
            return entry.convert(get_argument_values(entry.field, node, self.variables, hide_suggestions=True))
        except Exception as error:  # noqa: BLE001 - told as the field's error
            return error
