"""What a document may ask for, and what one operation may cost."""

import collections
from collections.abc import Collection, Mapping
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    Node,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
)

from execution.costs import Estimate
from execution.measuring import Measure

MAX_TOKENS: Final = 1000
MAX_DEPTH: Final = 12
MAX_ALIASES: Final = 30
MAX_ROOT_MUTATIONS: Final = 10
MAX_CREDENTIALS: Final = 1
MAX_COST: Final = 40_000
"""It bounds what can be reached as well: whatever has an id costs 1 at least."""
MAX_FIELDS: Final = 2000
MAX_DIRECTIVES: Final = 50
MAX_NAMESAKES: Final = 50
MAX_PAIRS: Final = 20_000
"""Of fields with one name in the response; 200 times one field without fields of its own is as many."""
MAX_WRITTEN_DIRECTIVES: Final = 100
MAX_FRAGMENTS: Final = 60
MAX_VALUES: Final = 2500
"""In all variables of a request, whatever they are in: each is read twice before a field sees it."""
MAX_FRAGMENT_USES: Final = 300
"""Operations times fragments: validation goes through the fragments of each operation anew."""


def check_before_validation(document: DocumentNode) -> GraphQLError | None:
    """Refuse a document that would take long to validate, whatever it means.

    Validation compares each field with each that has the same name in the response, and all that is inside them, and
    each fragment with each that is spread beside it; and it looks at each directive several times.
    """
    fragments = sum(isinstance(each, FragmentDefinitionNode) for each in document.definitions)
    if fragments > MAX_FRAGMENTS:
        return _error("QUERY_TOO_COMPLEX", f"The document has more than {MAX_FRAGMENTS} fragments.")
    if fragments * (len(document.definitions) - fragments) > MAX_FRAGMENT_USES:
        return _error("QUERY_TOO_COMPLEX", "The document has too many operations with fragments; send fewer at once.")
    objects, names, directives = _count(document)
    if max(objects.values(), default=0) > MAX_NAMESAKES:
        return _error("QUERY_TOO_COMPLEX", f"More than {MAX_NAMESAKES} fields have the same name in the response.")
    if sum(count * (count - 1) // 2 for count in names.values()) > MAX_PAIRS:
        return _error("QUERY_TOO_COMPLEX", "Too many fields have the same name in the response.")
    if directives > MAX_WRITTEN_DIRECTIVES:
        return _error("QUERY_TOO_COMPLEX", f"The document has more than {MAX_WRITTEN_DIRECTIVES} directives.")
    return None


def _count(document: DocumentNode) -> tuple[collections.Counter[str], collections.Counter[str], int]:
    """Count, by names in the response, fields that have fields and all fields; and the directives that are written."""
    objects: collections.Counter[str] = collections.Counter()
    names: collections.Counter[str] = collections.Counter()
    directives, waiting = 0, list[Node](document.definitions)
    while waiting:
        node = waiting.pop()
        directives += len(getattr(node, "directives", None) or ())
        selection_set: SelectionSetNode | None = getattr(node, "selection_set", None)
        if isinstance(node, FieldNode):
            name = (node.alias or node.name).value
            names[name] += 1
            objects[name] += selection_set is not None
        if selection_set is not None:
            waiting.extend(selection_set.selections)
    return objects, names, directives


def check_size(operation: OperationDefinitionNode, measure: Measure) -> GraphQLError | None:
    """Give the error of an operation that is too large, whatever the values of its variables."""
    mutations = measure.fields if operation.operation is OperationType.MUTATION else 0
    sizes = (
        (measure.depth, MAX_DEPTH, "QUERY_TOO_DEEP", "The query is deeper than {} levels."),
        (measure.aliases, MAX_ALIASES, "TOO_MANY_ALIASES", "The query has more than {} aliases."),
        (mutations, MAX_ROOT_MUTATIONS, "QUERY_TOO_COMPLEX", "A request has at most {} mutations."),
        (measure.credentials, MAX_CREDENTIALS, "QUERY_TOO_COMPLEX", "A request checks at most {} secret."),
        (measure.expanded, MAX_FIELDS, "QUERY_TOO_COMPLEX", "With its fragments the query has more than {} fields."),
        (measure.directives, MAX_DIRECTIVES, "QUERY_TOO_COMPLEX", "The query has more than {} directives."),
    )
    errors = (_error(code, text.format(limit)) for size, limit, code, text in sizes if size > limit)
    return next(errors, None)


def check_values(variables: Mapping[str, Any]) -> GraphQLError | None:
    """Give the error of variables that hold too many values to be read."""
    count, waiting = 0, list[Collection[Any]]([variables.values()])
    while waiting:
        values = waiting.pop()
        count += len(values)
        if count > MAX_VALUES:
            return _error("BAD_USER_INPUT", f"The variables hold more than {MAX_VALUES} values.")
        for value in values:
            if isinstance(value, dict):
                waiting.append(value.values())
            elif isinstance(value, list):
                waiting.append(value)
    return None


def too_costly(estimate: Estimate) -> GraphQLError:
    """Give the error of an operation that would cost more than MAX_COST."""
    message = f"The operation could cost {estimate.cost}; {MAX_COST} is allowed. Ask for smaller pages."
    return _error("QUERY_TOO_COMPLEX", message, cost=estimate.cost, limit=MAX_COST)


def _error(code: str, message: str, **extensions: object) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code, **extensions})
