"""What fields cost: `@cost` and `@listSize` of the GraphQL cost directives draft, in the schema for all to read.

An object costs 1, a leaf nothing and a mutation 10, unless `@cost` says otherwise. A list costs as often as it has
items: `@listSize` says which arguments tell how many, or how many there may be.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import strawberry
from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
)
from strawberry.schema_directive import Location
from strawberry.types.field import StrawberryField

D = TypeVar("D")

OBJECT_WEIGHT: Final = 1
MUTATION_WEIGHT: Final = 10
SUBSCRIPTION_WEIGHT: Final = 10
DEFAULT_SIZE: Final = 10
"""How many items a list is taken to have that says nothing of its size."""


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    description="What one use of the field costs, without what is inside: 1 for an object and 0 for a leaf where "
    "nothing is said, 10 for a mutation or a subscription.",
)
class Cost:
    """How much a field costs by itself."""

    weight: int


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    description="How long a list is at most: as its arguments say (by their length, where they are lists; a dot "
    "leads into an input), or as assumed. With `sizedFields` it is those fields of the object that are that long.",
)
class ListSize:
    """How many items a field gives, or the lists of the object that it gives."""

    assumed_size: int | None = strawberry.UNSET
    slicing_arguments: list[str] | None = strawberry.UNSET
    sized_fields: list[str] | None = strawberry.UNSET


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    description="The mutation checks a secret: an operation has at most one of this kind.",
)
class Credential:
    """Marks a mutation with which secrets could be guessed."""


PAGE: Final = ListSize(slicing_arguments=["first", "last"], sized_fields=["edges", "nodes"])


@dataclasses.dataclass(frozen=True, slots=True)
class FieldCost:
    """What is known of one field's cost."""

    weight: int
    inner: GraphQLNamedType | None
    """The type of what is selected inside; None for a leaf."""
    is_list: bool
    is_node: bool
    """Whether what it gives has an id of its own, and counts as a node."""
    assumed: int | None
    slicing: tuple[tuple[str, ...], ...]
    """Arguments, and what is meant inside those that are objects."""
    sizes_inner: bool
    """Whether the size is that of lists inside, not of the field itself."""
    is_credential: bool


FieldCosts = Mapping[tuple[str, str], FieldCost]
"""By the names of type and field."""


def read_costs(schema: GraphQLSchema) -> FieldCosts:
    """Read what every field of a schema costs."""
    defaults = {
        getattr(schema.mutation_type, "name", ""): MUTATION_WEIGHT,
        getattr(schema.subscription_type, "name", ""): SUBSCRIPTION_WEIGHT,
    }
    return {
        (type_name, name): _read(field, defaults.get(type_name))
        for type_name, type_ in schema.type_map.items()
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) and not type_name.startswith("__")
        for name, field in type_.fields.items()
    }


def _read(field: GraphQLField, default: int | None) -> FieldCost:
    named, cost, size = get_named_type(field.type), _directive(field, Cost), _directive(field, ListSize)
    is_leaf = is_leaf_type(named)
    if default is None:
        default = 0 if is_leaf else OBJECT_WEIGHT
    size = size or ListSize()
    return FieldCost(
        weight=cost.weight if cost is not None else default,
        inner=None if is_leaf else named,
        is_list=not is_leaf and is_list_type(get_nullable_type(field.type)),
        is_node="id" in getattr(named, "fields", ()),
        assumed=size.assumed_size or None,
        slicing=tuple(tuple(path.split(".")) for path in size.slicing_arguments or ()),
        sizes_inner=bool(size.sized_fields),
        is_credential=_directive(field, Credential) is not None,
    )


def _directive(field: GraphQLField, kind: type[D]) -> D | None:
    definition: Any = (field.extensions or {}).get("strawberry-definition")
    directives = definition.directives if isinstance(definition, StrawberryField) else ()
    return next((directive for directive in directives if isinstance(directive, kind)), None)
