"""Operations made by chance from a schema, always the same for the same seed."""

import random
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    parse,
)

DEPTH = 3


def generate(schema: GraphQLSchema, seed: int) -> DocumentNode:
    """Make a query, or now and then a mutation."""
    dice = random.Random(seed)
    root = schema.mutation_type if schema.mutation_type and dice.random() < 0.15 else schema.query_type
    assert root is not None
    kind = "mutation" if root is schema.mutation_type else "query"
    return parse(f"{kind} {_Generator(schema, dice).selection(root, DEPTH)}")


class _Generator:
    def __init__(self, schema: GraphQLSchema, dice: random.Random) -> None:
        self._schema = schema
        self._dice = dice
        self._aliases = 0

    def selection(self, type_: Any, depth: int) -> str:
        parts = self._of_abstract(type_, depth) if is_abstract_type(type_) else self._fields(type_, depth)
        return "{ " + " ".join(parts) + " }"

    def _of_abstract(self, type_: Any, depth: int) -> list[str]:
        parts = ["__typename"] if self._dice.random() < 0.6 else []
        if hasattr(type_, "fields"):
            parts += self._fields(type_, depth)
        for possible in self._schema.get_possible_types(type_):
            if self._dice.random() < 0.7:
                parts.append(f"... on {possible.name} {self.selection(possible, depth)}")
        return parts or ["__typename"]

    def _fields(self, type_: Any, depth: int) -> list[str]:
        able = [name for name, field in type_.fields.items() if depth > 0 or is_leaf_type(get_named_type(field.type))]
        chosen = self._dice.sample(able, min(len(able), self._dice.choice([1, 1, 2, 2, 3, 5])))
        parts = [self._field(name, type_.fields[name], depth) for name in chosen]
        return [*parts, *(["__typename"] if not parts or self._dice.random() < 0.1 else [])]

    def _field(self, name: str, field: Any, depth: int) -> str:
        arguments = [
            f"{argument}: {self.value(definition.type)}"
            for argument, definition in field.args.items()
            if is_non_null_type(definition.type) or self._dice.random() < 0.6
        ]
        alias = ""
        if field.args or self._dice.random() < 0.1:  # the same key must not stand for different arguments
            self._aliases += 1
            alias = f"b{self._aliases}: "
        given = f"({', '.join(arguments)})" if arguments else ""
        named = get_named_type(field.type)
        below = "" if is_leaf_type(named) else " " + self.selection(named, depth - 1)
        return f"{alias}{name}{given}{below}"

    def value(self, type_: Any) -> str:
        """Write a value of an input type."""
        dice = self._dice
        if is_non_null_type(type_):
            type_ = type_.of_type
        elif dice.random() < 0.15:
            return "null"
        if is_list_type(type_):
            return "[" + ", ".join(self.value(type_.of_type) for _ in range(dice.randrange(3))) + "]"
        if isinstance(type_, GraphQLEnumType):
            return str(dice.choice(list(type_.values)))
        if isinstance(type_, GraphQLInputObjectType):
            return self._object(type_)
        written = {"Int": str(dice.randrange(-3, 99)), "Boolean": dice.choice(["true", "false"])}
        return written.get(type_.name, '"' + "x" * dice.randrange(6) + '"')

    def _object(self, type_: GraphQLInputObjectType) -> str:
        given = [
            f"{name}: {self.value(field.type)}"
            for name, field in type_.fields.items()
            if is_non_null_type(field.type) or self._dice.random() < 0.3
        ]
        return "{" + ", ".join(given) + "}"
