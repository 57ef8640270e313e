"""What a compiled operation consists of. A plan holds the document's shape and never anything that was answered."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from graphql import (
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
)
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails

from execution.coercing import Plain
from schema.fields import LevelFunction, Protected, Source

Build = Callable[[Sequence[Any], Mapping[int, Any], Sequence[int]], list[dict[str, Any]]]
"""(objects, columns, masks) of a level to its output; raises wherever something is not as it should be."""


MAX_ENTRIES: Final = 1000
"""How many response keys a plan has at most; what is larger runs in graphql-core."""
INLINE: Final = -1
"""The column of an entry that has none: the generated function reads it itself."""


class Leave(Exception):
    """The generated function met something unexpected: the level has to be completed step by step."""


class Unplannable(Exception):
    """The operation can be run by graphql-core only; the message is the reason, one of a closed set."""


def _unconverted(arguments: dict[str, Any]) -> dict[str, Any]:
    return arguments


def _unread(source: object) -> object:
    return source


@dataclasses.dataclass(slots=True, eq=False)
class Entry:
    """One response key of a selection: where its values come from and what they are completed to."""

    key: str
    field: GraphQLField
    details: FieldDetailsList
    parent: GraphQLObjectType
    named: Any
    """The type inside all lists and non-nulls."""
    depth: int
    """How many lists are around `named`."""
    source: Source | None = None
    """None for `__typename`."""
    function: LevelFunction | None = None
    """What answers for a whole level, where that is the source."""
    guard: Protected | None = None
    bit: int = 0
    """That of the guard's group; 0 where there is no guard."""
    convert: Callable[[dict[str, Any]], dict[str, Any]] = _unconverted
    read: Callable[[Any], Any] = _unread
    """Reads the value off one object, where no level function answers."""
    column: int = INLINE
    """Where its values lie in the level, or INLINE."""
    arguments: Mapping[str, Any] | Exception | None = None
    """Those of the level function where they are the same for each request, or what they fail with."""
    plain_variables: tuple[tuple[str, str, bool], ...] = ()
    """Where all arguments are constants, and variables that need no conversion: of these the names of argument and
    variable, and whether null, or nothing, may be given."""
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Then, what the other arguments are."""
    is_leaf: bool = True
    is_settled: bool = False
    """Whether what answers for a whole level gives leaf values, which are nothing but kept."""
    asks_type: bool = False
    """Whether each object has to be asked for its type."""
    serialize: Callable[[Any], Any] | None = None
    branches: dict[GraphQLObjectType, "Selection"] = dataclasses.field(default_factory=dict)
    plain: set[type] = dataclasses.field(default_factory=set)
    """Classes met before whose objects need no look: no error, nothing to await, of the right type."""

    @property
    def type(self) -> GraphQLOutputType:
        """Give the type of the field."""
        return self.field.type

    @property
    def name(self) -> str:
        """Give the name of the field."""
        return self.details[0].node.name.value


@dataclasses.dataclass(slots=True, eq=False)
class Selection:
    """What is selected of one type at one place of the response."""

    type: GraphQLObjectType
    entries: list[Entry]
    columns: list[Entry]
    branching: list[Entry]
    """Those of the columns that lead to further levels."""
    mask: Callable[[Any], int] | None
    """Gives the groups that show of an object, where a field asks for one."""
    build: Build


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One operation of a valid document, with what running it needs."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDetails]
    definitions: dict[str, FragmentDefinitionNode]
    variables: Plain | None
    """Its variables, where they can be taken as they come."""


@dataclasses.dataclass(slots=True, eq=False)
class Plan:
    """An operation compiled for given values of the variables in `@skip` and `@include`."""

    outline: Outline
    roots: list[Selection] = dataclasses.field(default_factory=list)
    """One selection, or one a root field where they run one after another."""
    entries: int = 0
    traces: bool = False
    """Whether an object's place in the response may be asked for while levels run."""
    asks: bool = False
    """Whether a root field is answered by a function, and not by the document alone."""
