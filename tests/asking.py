"""Asking in the process of the test, as the transport does."""

from typing import Any, Final

from execution.engine import Engine, GraphQLRequest, Operation
from resolvers.context import Context
from schema.fields import OperationContext
from schema.schema import SCHEMA

ENGINE: Final = Engine(SCHEMA._schema, introspection=True)


def prepare(context: Context, query: str, **variables: object) -> Operation | dict[str, Any]:
    """Make an operation ready to run, or give the response that says why it cannot be."""
    return ENGINE.prepare(GraphQLRequest(query, variables=variables), OperationContext(context))


async def ask(context: Context, query: str, **variables: object) -> dict[str, Any]:
    """Run an operation, and give the whole response."""
    prepared = prepare(context, query, **variables)
    return await prepared.run() if isinstance(prepared, Operation) else prepared
