"""Variables of an operation that are taken as they come: of the scalars that every schema has, and of lists of them.

graphql-core reads their definitions anew with each request. Whatever is not of the very class that it would give back
is left to it, and so is every error.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from graphql import (
    GraphQLBoolean,
    GraphQLID,
    GraphQLInt,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    Undefined,
    VariableDefinitionNode,
    get_nullable_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_variable_values

_CLASSES: Final[Mapping[Any, type]] = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool, GraphQLInt: int}
_LEAST_INT: Final = -(2**31)
_MOST_INT: Final = 2**31 - 1


class Variable(NamedTuple):
    """One variable: what it is declared as, and which values are taken as they are."""

    name: str
    signature: GraphQLVariableSignature
    class_: type
    """That of the values, or of the items."""
    is_list: bool
    nulls: tuple[type, ...]
    """The class of null, where that may be given, or be an item."""
    left_out: VariableValueSource | None
    """What is known of its source where it may be left out."""
    default: Any
    """What it is then, if anything."""


Plain = Sequence[Variable]


def plain_variables(schema: GraphQLSchema, operation: OperationDefinitionNode) -> Plain | None:
    """Give the variables of an operation; None where one is of another kind."""
    found = [_plain(schema, definition) for definition in operation.variable_definitions or ()]
    plain = [variable for variable in found if variable is not None]
    return plain if len(plain) == len(found) else None


def _plain(schema: GraphQLSchema, definition: VariableDefinitionNode) -> Variable | None:
    signature = get_variable_signature(schema, definition)
    if not isinstance(signature, GraphQLVariableSignature):
        return None
    type_: Any = get_nullable_type(signature.type)
    is_list = is_list_type(type_)
    inner: Any = type_.of_type if is_list else signature.type
    class_ = _CLASSES.get(get_nullable_type(inner))
    without = get_variable_values(schema, [definition], {}, hide_suggestions=True)
    sources, coerced = without if isinstance(without, VariableValues) else VariableValues({}, {})
    left_out, default = sources.get(signature.name), coerced.get(signature.name, Undefined)
    if class_ is None or isinstance(default, list) or (signature.default is not None and default is Undefined):
        return None
    nulls = () if is_non_null_type(inner) else (type(None),)
    return Variable(signature.name, signature, class_, is_list, nulls, left_out, default)


def coerced_plainly(plain: Plain, given: Mapping[str, Any]) -> VariableValues | None:
    """Give the values of variables as graphql-core would; None where it has to look at them."""
    values = VariableValues({}, {})
    sources, coerced = values
    for name, signature, class_, is_list, nulls, left_out, default in plain:
        value = given.get(name, Undefined)
        if value is Undefined:
            if left_out is None:
                return None
            sources[name] = left_out
            if default is not Undefined:
                coerced[name] = default
            continue
        sources[name] = VariableValueSource(signature, value)
        if is_list:
            if value.__class__ is not list or not all(_is_plain(item, class_, nulls) for item in value):
                return None
            value = [*value]
        elif not _is_plain(value, class_, nulls):
            return None
        coerced[name] = value
    return values


def _is_plain(value: object, class_: type, nulls: tuple[type, ...]) -> bool:
    if value.__class__ is not class_:
        return value.__class__ in nulls
    return class_ is not int or _LEAST_INT <= value <= _MOST_INT  # type: ignore[operator] # it is an int
