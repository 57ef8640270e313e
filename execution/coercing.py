"""Variables of an operation that are taken as they come: of the scalars that every schema has, and without defaults.

graphql-core reads their definitions anew with each request. Whatever is not of the very class that it would give back
is left to it, and so is every error.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from graphql import (
    GraphQLBoolean,
    GraphQLID,
    GraphQLInt,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource

_CLASSES: Final[Mapping[Any, type]] = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool, GraphQLInt: int}
_LEAST_INT: Final = -(2**31)
_MOST_INT: Final = 2**31 - 1

Plain = Sequence[tuple[str, GraphQLVariableSignature, type]]
"""Of each variable its name, what it is declared as, and the class of the values that are taken as they are."""


def plain_variables(schema: GraphQLSchema, operation: OperationDefinitionNode) -> Plain | None:
    """Give the variables of an operation; None where one is of another kind."""
    found = []
    for definition in operation.variable_definitions or ():
        signature = get_variable_signature(schema, definition)
        if not isinstance(signature, GraphQLVariableSignature) or signature.default is not None:
            return None
        type_ = signature.type.of_type if is_non_null_type(signature.type) else signature.type
        if type_ not in _CLASSES:
            return None
        found.append((signature.name, signature, _CLASSES[type_]))
    return found


def coerced_plainly(plain: Plain, given: Mapping[str, Any]) -> VariableValues | None:
    """Give the values of variables as graphql-core would; None where it has to look at them."""
    values = VariableValues({}, {})
    for name, signature, class_ in plain:
        value = given.get(name)
        if value.__class__ is not class_ or (isinstance(value, int) and not _LEAST_INT <= value <= _MOST_INT):
            return None
        values.sources[name] = VariableValueSource(signature, value)
        values.coerced[name] = value
    return values
