"""What a document may ask for, and what one operation may cost."""

import collections
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    Node,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
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
MAX_NAMESAKES: Final = 60


def check_namesakes(document: DocumentNode) -> GraphQLError | None:
    """Refuse a document in which too many fields with fields of their own have one name in the response.

    To be asked before validation, which compares each with each, and all that is inside them.
    """
    counts: collections.Counter[str] = collections.Counter()
    waiting: list[Node] = list(document.definitions)
    while waiting:
        selection_set: SelectionSetNode | None = getattr(waiting.pop(), "selection_set", None)
        if selection_set is not None:
            waiting.extend(selection_set.selections)
            counts.update(filter(None, map(_name_of_object, selection_set.selections)))
    if max(counts.values(), default=0) <= MAX_NAMESAKES:
        return None
    return _error("QUERY_TOO_COMPLEX", f"More than {MAX_NAMESAKES} fields have the same name in the response.")


def _name_of_object(selection: SelectionNode) -> str | None:
    if not isinstance(selection, FieldNode) or selection.selection_set is None:
        return None
    return (selection.alias or selection.name).value


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


def check_cost(estimate: Estimate, limit: int = MAX_COST) -> GraphQLError | None:
    """Give the error of an operation that would cost too much."""
    if estimate.cost <= limit:
        return None
    message = f"The operation could cost {estimate.cost}; {limit} is allowed. Ask for smaller pages."
    return _error("QUERY_TOO_COMPLEX", message, cost=estimate.cost, limit=limit)


def _error(code: str, message: str, **extensions: object) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code, **extensions})
