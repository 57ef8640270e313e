"""Runs operations. graphql-core executes; every field that loads answers for a whole level through the seam."""

import dataclasses
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, cast

from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, OperationType
from graphql.execution import Executor, create_source_event_stream

from execution.documents import Documents
from execution.errors import present_error

_ROOT: Final = object()  # the one parent of the root fields' level
Response = dict[str, Any]
"""A GraphQL response: `data` where something was executed, `errors` where something failed."""


@dataclasses.dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """What a client asks to be run."""

    query: str
    operation_name: str | None = None
    variables: Mapping[str, Any] | None = None
    extensions: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """A request that is ready to run: valid, within the limits, its variables coerced."""

    executor: Executor[Any]

    @property
    def type(self) -> OperationType:
        """Tell whether it is a query, a mutation or a subscription."""
        return self.executor.operation.operation

    @property
    def name(self) -> str | None:
        """Give the operation's own name."""
        name = self.executor.operation.name
        return name.value if name is not None else None

    async def run(self) -> Response:
        """Execute a query or a mutation."""
        return present(await _awaited(self.executor.execute_operation()))

    async def stream(
        self, context_of: Callable[[Any], object], extensions_of: Callable[[Any], Response | None]
    ) -> AsyncIterator[Response]:
        """Execute a subscription: one response per event, each in a context of its own, `context_of(event)`.

        What `extensions_of(event)` gives goes along with the response. A source that cannot be opened, or fails later,
        gives one last response with the error.
        """
        source = await _awaited(create_source_event_stream(self.executor))
        if isinstance(source, ExecutionResult):
            yield present(source)
            return
        events = aiter(cast("AsyncIterable[Any]", source))
        try:
            async for event in events:
                executor = self.executor.build_per_event_executor(event)
                executor.context_value = context_of(event)
                response = present(await _awaited(executor.execute_operation()))
                extensions = extensions_of(event)
                yield response if extensions is None else {**response, "extensions": extensions}
        except Exception as error:  # noqa: BLE001 - whatever ended the source is told to the client, masked
            yield failed([GraphQLError("The stream failed.", original_error=error)])
        finally:
            if inspect.isasyncgen(events):
                await events.aclose()


class Engine:
    """Prepares requests against one schema."""

    def __init__(self, schema: GraphQLSchema, *, introspection: bool) -> None:
        self._schema = schema
        self._documents = Documents(schema, introspection=introspection)

    def prepare(self, request: GraphQLRequest, context: object) -> Operation | Response:
        """Make a request ready to run, or give the response that says why it cannot be."""
        document = self._documents.get(request.query)
        if not isinstance(document, DocumentNode):
            return failed(document)
        executor = Executor.build(
            self._schema,
            document,
            root_value=_ROOT,
            context_value=context,
            raw_variable_values=dict(request.variables or {}),
            operation_name=request.operation_name,
            hide_suggestions=True,
        )
        if isinstance(executor, Executor):
            return Operation(executor)
        return failed([_request_error(error, request) for error in executor])


def present(result: ExecutionResult) -> Response:
    """Give the response form of a result."""
    if not result.errors:
        return {"data": result.data}
    return {"errors": [present_error(error) for error in result.errors], "data": result.data}


def failed(errors: Sequence[GraphQLError]) -> Response:
    """Give the response form of a request that was not executed: errors, and no data at all."""
    return {"errors": [present_error(error) for error in errors]}


def _request_error(error: GraphQLError, request: GraphQLRequest) -> GraphQLError:
    unresolved = error.message.startswith(("Must provide", "Unknown operation"))
    error.extensions = {"code": "OPERATION_RESOLUTION_FAILURE" if unresolved else "BAD_USER_INPUT"}
    if unresolved and request.operation_name is not None:
        error.message = "The document has no operation of that name."
    return error


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
