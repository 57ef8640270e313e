"""Every path of the schema that leads to a person, and every place where a client names one."""

import dataclasses
from collections.abc import Iterator
from typing import Final

from graphql import (
    GraphQLField,
    GraphQLInputType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_input_object_type,
    is_leaf_type,
    is_object_type,
    is_required_argument,
)

PERSON: Final = "User"


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """One field on the way, by the object type that has it."""

    owner: str
    field: str

    def __str__(self) -> str:
        return f"{self.owner}.{self.field}"


@dataclasses.dataclass(frozen=True, slots=True)
class Path:
    """A chain of fields from a root to a person."""

    edges: tuple[Edge, ...]

    def __str__(self) -> str:
        return " > ".join(map(str, self.edges))

    @property
    def response(self) -> tuple[str, ...]:
        """Give the names under which the person stands in a response, without list indexes."""
        return tuple(edge.field for edge in self.edges)


class Walker:
    """Reads paths off a schema; `nested` says how many more people may lie behind the first."""

    def __init__(self, schema: GraphQLSchema, *, nested: int) -> None:
        self._schema = schema
        self._nested = nested
        self._leading = self._leading_types()

    @property
    def roots(self) -> list[GraphQLObjectType]:
        """Give the root types."""
        found = (self._schema.query_type, self._schema.mutation_type, self._schema.subscription_type)
        return [root for root in found if root is not None]

    def paths(self) -> list[Path]:
        """Give every path, none through the same type twice between two people."""
        return [Path(edges) for root in self.roots for edges in self._from(root, (), frozenset(), self._nested)]

    def edges(self) -> set[Edge]:
        """Give every edge that lies on a path."""
        return {edge for path in self.paths() for edge in path.edges}

    def doors(self) -> set[Edge]:
        """Give every field of any object type that gives a person, whether or not a root leads there."""
        return {
            Edge(kind.name, name)
            for kind in self._schema.type_map.values()
            if is_object_type(kind) and not kind.name.startswith("__")
            for name, field in kind.fields.items()
            if self.gives_person(field)
        }

    def gives_person(self, field: GraphQLField) -> bool:
        """Tell whether a field's objects can be people."""
        return PERSON in {kind.name for kind in self.kinds(field)}

    def kinds(self, field: GraphQLField) -> list[GraphQLObjectType]:
        """Give the object types that a field's objects can have."""
        named = get_named_type(field.type)
        if is_abstract_type(named):
            return list(self._schema.get_possible_types(named))
        return [named] if is_object_type(named) else []

    def leads(self, field: GraphQLField) -> bool:
        """Tell whether a person can be reached through a field."""
        return any(kind.name in self._leading for kind in self.kinds(field))

    def _from(
        self, kind: GraphQLObjectType, edges: tuple[Edge, ...], seen: frozenset[str], left: int
    ) -> Iterator[tuple[Edge, ...]]:
        for name, field in kind.fields.items():
            longer = (*edges, Edge(kind.name, name))
            if self.gives_person(field):
                yield longer
            for further in self.kinds(field):
                if further.name == PERSON and left > 0:
                    yield from self._from(further, longer, frozenset(), left - 1)
                elif further.name != PERSON and further.name in self._leading and further.name not in seen:
                    yield from self._from(further, longer, seen | {further.name}, left)

    def _leading_types(self) -> set[str]:
        kinds = [kind for kind in self._schema.type_map.values() if is_object_type(kind)]
        leading = {PERSON}
        while True:
            more = {
                kind.name
                for kind in kinds
                if any(further.name in leading for field in kind.fields.values() for further in self.kinds(field))
            }
            if more <= leading:
                return leading
            leading |= more


def naming_arguments(schema: GraphQLSchema) -> set[str]:
    """Give every argument, inputs looked into, by which a client names somebody: `Type.field(argument)`."""
    return {
        f"{kind.name}.{name}({'.'.join(way)})"
        for kind in schema.type_map.values()
        if is_object_type(kind) and not kind.name.startswith("__")
        for name, field in kind.fields.items()
        for argument, details in field.args.items()
        for way in _naming(argument, details.type)
    }


def _naming(name: str, kind: GraphQLInputType) -> Iterator[tuple[str, ...]]:
    named = get_named_type(kind)
    if is_input_object_type(named):
        for inner, details in named.fields.items():
            yield from ((name, *way) for way in _naming(inner, details.type))
    elif named.name == "ID" or "username" in name.lower():
        yield (name,)


def is_plain(field: GraphQLField) -> bool:
    """Tell whether a field can be selected without arguments and without a selection."""
    return is_leaf_type(get_named_type(field.type)) and not needs_arguments(field)


def needs_arguments(field: GraphQLField) -> bool:
    """Tell whether a field cannot be asked for without arguments."""
    return any(is_required_argument(argument) for argument in field.args.values())
