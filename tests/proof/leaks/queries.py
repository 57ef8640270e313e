"""Operations made by chance from the schema, whole and broken, always the same for the same seed."""

import dataclasses
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_enum_type,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
)

from tests.proof.leaks.paths import Walker, is_plain

DEEPEST: Final = 4
_HARMLESS: Final = ("rejectFollowRequest", "acceptFollowRequest", "cancelFollowRequest", "updateProfile")
"""Mutations that change nothing of what the model speaks of, whoever runs them."""

_BAD: Final = ('"' * 3, "{", "}", "(", "$x", "@skip", "...Nobody", "\\u0000", "null", "-1", "1e999", "first: 0", "!")


@dataclasses.dataclass(frozen=True, slots=True)
class Generator:
    """Writes operations about some people, by `ids` and `names`."""

    schema: GraphQLSchema
    chance: random.Random
    ids: Sequence[str]
    names: Sequence[str]
    walker: Walker

    def operation(self) -> str:
        """Write a query, or sometimes a mutation."""
        root = self.schema.mutation_type if self.chance.random() < 0.2 else self.schema.query_type
        assert root is not None
        fields = {name: f for name, f in root.fields.items() if root.name == "Query" or name in _HARMLESS}
        chosen = self.chance.sample(sorted(fields), k=min(len(fields), self.chance.randint(1, 2)))
        body = " ".join(self._field(name, fields[name], 0) for name in chosen)
        return f"{'query' if root.name == 'Query' else 'mutation'} {{ {body} }}"

    def broken(self) -> str:
        """Write an operation that is not valid any more, most likely."""
        text = self.operation()
        at = self.chance.randrange(len(text))
        changes: list[Callable[[], str]] = [
            lambda: text[:at],
            lambda: text[:at] + self.chance.choice(_BAD) + text[at:],
            lambda: text.replace("username", self.chance.choice(self.names).replace(".", "_")),
            lambda: text.replace("first", "frist", 1),
            lambda: text.replace('"', '"x', 1),
            lambda: f"query($x: ID!) {{ user(id: $x) {{ id }} }} # {text}",
        ]
        return self.chance.choice(changes)()

    def _field(self, name: str, field: GraphQLField, depth: int) -> str:
        arguments = self._arguments(field.args)
        kinds = self.walker.kinds(field)
        if not kinds:
            return f"{name}{arguments}"
        selections = [self._selection(kind, depth + 1) for kind in kinds]
        if is_abstract_type(get_named_type(field.type)):
            spreads = (f"... on {kind.name} {text}" for kind, text in zip(kinds, selections, strict=True))
            return f"{name}{arguments} {{ __typename {' '.join(spreads)} }}"
        return f"{name}{arguments} {selections[0]}"

    def _selection(self, kind: GraphQLObjectType, depth: int) -> str:
        plain = [name for name, field in kind.fields.items() if is_plain(field)]
        deeper = [name for name, field in kind.fields.items() if not is_plain(field)]
        limit = 0 if depth >= DEEPEST + 3 else 1 if depth > DEEPEST else 2
        chosen = [name for name in plain if self.chance.random() < 0.8]
        chosen += self.chance.sample(deeper, k=min(len(deeper), limit))
        written = [self._field(name, kind.fields[name], depth) for name in chosen]
        return f"{{ __typename {' '.join(written)} }}"

    def _arguments(self, arguments: Mapping[str, GraphQLArgument]) -> str:
        names = self._choose(arguments)
        written = [f"{name}: {self._value(name, arguments[name].type)}" for name in names]
        return f"({', '.join(written)})" if written else ""

    def _choose(self, arguments: Mapping[str, GraphQLArgument]) -> list[str]:
        """Take one of what excludes each other, most of the time."""
        if "first" in arguments:
            return [self.chance.choice(["first", "last"]), *(["orderBy"] if "orderBy" in arguments else [])]
        optional = [name for name, argument in arguments.items() if not is_required_argument(argument)]
        required = [name for name, argument in arguments.items() if is_required_argument(argument)]
        return [*required, *self.chance.sample(optional, k=min(1, len(optional)))]

    def _value(self, name: str, kind: GraphQLInputType) -> str:
        if is_non_null_type(kind):
            return self._value(name, kind.of_type)
        if is_list_type(kind):
            return "[" + ", ".join(self._value(name, kind.of_type) for _ in range(self.chance.randint(1, 3))) + "]"
        named = get_named_type(kind)
        if is_input_object_type(named):
            needed = {field: details for field, details in named.fields.items() if is_non_null_type(details.type)}
            return "{" + ", ".join(f"{f}: {self._value(f, details.type)}" for f, details in needed.items()) + "}"
        if is_enum_type(named):
            return str(self.chance.choice(sorted(named.values)))
        return self._scalar(named.name)

    def _scalar(self, kind: str) -> str:
        if kind == "Int":
            return str(self.chance.randint(1, 9))
        return json.dumps(self.chance.choice(self.ids if kind == "ID" else self.names))
