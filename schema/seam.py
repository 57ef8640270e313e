"""What a query plan needs to know of a field, read off the Strawberry schema: there is no second table of fields."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from graphql import GraphQLField, GraphQLSchema
from strawberry.relay import GlobalID
from strawberry.scalars import is_scalar
from strawberry.types.arguments import convert_arguments
from strawberry.types.base import StrawberryMaybe, StrawberryObjectDefinition, StrawberryOptional
from strawberry.types.field import StrawberryField

from schema.fields import SOURCE, Attribute, Derived, Protected, Source

Make = Callable[[Any], Any]
Convert = Callable[[dict[str, Any]], dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Seam:
    """How a field is made, who may see it, and how its GraphQL arguments become those of its level function."""

    source: Source
    guard: Protected | None
    convert: Convert
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


def _converter(own: Any, definition: StrawberryField) -> Convert:
    """Give what makes a function's arguments; Strawberry looks at their types anew each time, we do once."""
    names, makers = own.config.name_converter, dict[str, tuple[str, Make]]()
    for argument in definition.arguments:
        make = _maker(own, argument.type)
        if make is None:
            break
        makers[names.from_argument(argument)] = argument.python_name, make
    else:
        return functools.partial(_convert, makers)
    return functools.partial(
        convert_arguments,
        arguments=definition.arguments,
        scalar_registry=own.schema_converter.scalar_registry,
        config=own.config,
    )


def _convert(makers: Mapping[str, tuple[str, Make]], given: dict[str, Any]) -> dict[str, Any]:
    return {python_name: make(given[name]) for name, (python_name, make) in makers.items() if name in given}


def _maker(own: Any, type_: Any) -> Make | None:
    """Give what makes one argument: a leaf, or an input of leaves that must be there; None for whatever is more."""
    is_optional = isinstance(type_, StrawberryOptional) and not isinstance(type_, StrawberryMaybe)
    if _is_leaf(own, type_.of_type if is_optional else type_):
        return _identity
    definition = getattr(type_, "__strawberry_definition__", None)
    if not isinstance(definition, StrawberryObjectDefinition) or definition.from_input is not None:
        return None
    fields = {own.config.name_converter.from_field(field): field for field in definition.fields}
    if not all(_maker(own, field.resolve_type(type_definition=definition)) is _identity for field in fields.values()):
        return None
    return functools.partial(_make_input, type_, {name: field.python_name for name, field in fields.items()})


def _is_leaf(own: Any, type_: Any) -> bool:
    return type_ is not GlobalID and is_scalar(type_, own.schema_converter.scalar_registry)


def _make_input(type_: Callable[..., object], names: Mapping[str, str], given: Mapping[str, Any]) -> object:
    return type_(**{names[name]: value for name, value in given.items()})
