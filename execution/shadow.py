"""Compares what a plan answers with what graphql-core answered, and tells of a difference without any data."""

import hashlib
import logging
from collections.abc import Awaitable
from typing import Final

import orjson
from graphql import ExecutionResult, OperationDefinitionNode, print_ast

from execution import metrics

_LOG: Final = logging.getLogger(__name__)


async def compare(
    operation: OperationDefinitionNode, reference: ExecutionResult, planned: Awaitable[ExecutionResult]
) -> None:
    """Count whether both agree; a difference is logged with a digest of the operation."""
    try:
        found = difference(reference, await planned)
    except Exception as error:  # noqa: BLE001 - a plan that fails must not touch the answer
        found = f"raised {type(error).__name__}"
    metrics.SHADOWED.labels(found.partition(" ")[0]).inc()
    if found != "none":
        digest = hashlib.sha256(print_ast(operation).encode()).hexdigest()[:16]
        _LOG.error("the plan of operation %s differs from graphql-core: %s", digest, found)


def difference(reference: ExecutionResult, planned: ExecutionResult) -> str:
    """Name what differs: the data, the order of its keys, the errors, or none of them."""
    if reference.data != planned.data:
        return "data"
    if orjson.dumps(reference.data) != orjson.dumps(planned.data):
        return "order"
    return "none" if _places(reference) == _places(planned) else "errors"


def _places(result: ExecutionResult) -> list[tuple[str, str]]:
    return sorted((repr(error.path), error.message) for error in result.errors or ())
