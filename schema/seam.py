"""What a query plan needs to know of a field, read off the Strawberry schema: there is no second table of fields."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from graphql import GraphQLField, GraphQLSchema
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

from schema.fields import SOURCE, Attribute, Derived, Protected, Source


@dataclasses.dataclass(frozen=True, slots=True)
class Seam:
    """How a field is made, who may see it, and how its GraphQL arguments become those of its level function."""

    source: Source
    guard: Protected | None
    convert: Callable[[dict[str, Any]], dict[str, Any]]
    names: Mapping[str, str]
    """The GraphQL names of the arguments, and those that the function knows them by."""


class NoSeam(Exception):
    """Only graphql-core can run this field; the message is the reason."""


def _identity(event: object) -> object:
    return event


_EVENT: Final = Derived(_identity)


def read_seam(schema: GraphQLSchema, field: GraphQLField) -> Seam:
    """Read how a field is made.

    Raises:
        NoSeam: it has a resolver or an extension of its own, or is not Strawberry's at all.
    """
    definition = (field.extensions or {}).get("strawberry-definition")
    if not isinstance(definition, StrawberryField):
        raise NoSeam("not a field of the schema's own types")
    guards = [extension for extension in definition.extensions if isinstance(extension, Protected)]
    if len(guards) != len(definition.extensions) or len(guards) > 1:
        raise NoSeam("an extension that is no guard")
    own = schema._strawberry_schema  # type: ignore[attr-defined] # noqa: SLF001 - Strawberry's own way back
    name_of = own.config.name_converter.from_argument
    names = {name_of(argument): argument.python_name for argument in definition.arguments}
    return Seam(_source(definition), guards[0] if guards else None, _converter(own, definition), names)


def _source(definition: StrawberryField) -> Source:
    if definition.is_subscription:  # what the source stream gave is the parent of the event's level, and the answer
        return _EVENT
    source: Source | None = definition.metadata.get(SOURCE)
    if source is None and definition.base_resolver is None:
        return Attribute(definition.python_name)
    if source is None:
        raise NoSeam("a resolver of its own")
    return source


def _converter(own: Any, definition: StrawberryField) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return functools.partial(
        convert_arguments,
        arguments=definition.arguments,
        scalar_registry=own.schema_converter.scalar_registry,
        config=own.config,
    )
