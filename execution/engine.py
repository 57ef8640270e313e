"""Runs operations: by a plan where there is one, else by graphql-core. Both call the same fields of the one schema."""

import asyncio
import enum
import functools
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
)
from graphql.execution import Executor, create_source_event_stream
from graphql.execution.values import VariableValues, get_variable_values

from domain import deadlines
from domain.errors import DeadlineExceeded
from execution import metrics, shadow
from execution.coercing import coerced_plainly
from execution.costs import NOTHING, Estimate
from execution.documents import Documents, Prepared, shortened
from execution.dry_runs import dry_run
from execution.errors import present_error, without_values
from execution.executing import execute_plan
from execution.limits import MAX_COST, check_values, too_costly
from execution.plan import Outline, Plan
from execution.plans import NEW, Plans
from schema.fields import OperationContext

_ROOT: Final = object()  # the one parent of the root fields' level
_MAX_COERCION_ERRORS: Final = 50
_NO_DEADLINE_S: Final = 60.0
_GRACE_S: Final = 0.25
_EVENT_S: Final = 5.0  # how long the execution of one event of a subscription may take
_MUTATION: Final = OperationType.MUTATION
_NO_VARIABLES: Final = VariableValues({}, {})
Response = dict[str, Any]
"""A GraphQL response: `data` where something was executed, `errors` where something failed."""


class GraphQLRequest(msgspec.Struct, frozen=True):
    """What a client asks to be run; `query` is empty where it names the document in another way."""

    query: str
    operation_name: str | None = None
    variables: Mapping[str, Any] | None = None
    extensions: Mapping[str, Any] | None = None
    document_id: str | None = None
    """The name of a document in the manifest."""
    own: bool = False
    """Whether the document is the server's own."""


class PlanMode(enum.StrEnum):
    """Whether plans run: never, wherever there is one, or beside graphql-core, whose answer counts, for comparison."""

    OFF = "off"
    ON = "on"
    SHADOW = "shadow"


class Operation(msgspec.Struct):
    """A request that is ready to run: valid, within the limits, its variables coerced."""

    definition: OperationDefinitionNode
    type: OperationType
    """Whether it is a query, a mutation or a subscription."""
    context: OperationContext
    variables: VariableValues
    plan: Plan | None
    shadows: bool
    build: Callable[[], Executor[Any]]
    """Makes graphql-core's executor of the request."""
    estimate: Estimate = NOTHING
    """What it costs at most."""
    is_dry: bool = False
    """Whether it only asks what it would cost."""
    tells_cost: bool = False
    """Whether the answer says what it costs."""

    @property
    def cost(self) -> int:
        """Give what it is charged with."""
        return self.estimate.price if not self.is_dry else NOTHING.price

    async def run(self) -> Response:
        """Execute a query or a mutation, until its deadline."""
        response = self.begin()
        return response if isinstance(response, dict) else await response

    def begin(self) -> Response | Awaitable[Response]:
        """Execute a query or a mutation as far as nothing has to be waited for: gives the response, or awaits the rest.

        Whatever waits heeds the deadline by itself, so that the rest of the answer can still be given. A query in which
        something does not is cut off a little later; a mutation never is, which must tell of what it has done.
        """
        plan = self.plan
        try:
            seconds = None if self.type is _MUTATION else deadlines.left(_NO_DEADLINE_S) + _GRACE_S
            if plan is None or self.shadows:
                return self._finish(self._execute(), seconds)
            result = execute_plan(plan, self.context, _ROOT, self.variables)
        except DeadlineExceeded:
            return _too_late()
        return present(result, self.context) if isinstance(result, ExecutionResult) else self._finish(result, seconds)

    async def _finish(self, result: Awaitable[ExecutionResult], seconds: float | None) -> Response:
        try:
            async with asyncio.timeout(seconds):
                return present(await result, self.context)
        except (TimeoutError, DeadlineExceeded):
            return _too_late()

    async def _execute(self) -> ExecutionResult:
        result: ExecutionResult = await _awaited(self.build().execute_operation())
        if self.plan is not None and self.type is OperationType.QUERY:
            await shadow.compare(self.definition, result, self._planned(self.plan, self.context, _ROOT))
        return result

    async def _planned(self, plan: Plan, context: OperationContext, root: object) -> ExecutionResult:
        result = execute_plan(plan, context, root, self.variables)
        return result if isinstance(result, ExecutionResult) else await result

    async def stream(
        self, context_of: Callable[[Any], object], extensions_of: Callable[[Any], Response | None]
    ) -> AsyncIterator[Response]:
        """Execute a subscription: one response per event, each in a context of its own, `context_of(event)`.

        What `extensions_of(event)` gives goes along with the response. A source that cannot be opened, or fails later,
        gives one last response with the error.
        """
        executor = self.build()
        source = await _awaited(create_source_event_stream(executor))
        if isinstance(source, ExecutionResult):
            yield present(source, self.context)
            return
        events = aiter(cast("AsyncIterable[Any]", source))
        try:
            async for event in events:
                context = cast("OperationContext", context_of(event))
                with deadlines.within(_EVENT_S):
                    result = await self._event(executor, event, context)
                yield present(result, context, extensions_of(event))
        except Exception as error:  # noqa: BLE001 - whatever ended the source is told to the client, masked
            yield failed([GraphQLError("The stream failed.", original_error=error)])
        finally:
            if inspect.isasyncgen(events):
                await events.aclose()

    async def _event(self, executor: Executor[Any], event: object, context: OperationContext) -> ExecutionResult:
        if self.plan is not None and not self.shadows:
            return await self._planned(self.plan, context, event)
        own = executor.build_per_event_executor(event)
        own.context_value = context
        result: ExecutionResult = await _awaited(own.execute_operation())
        if self.plan is not None:
            await shadow.compare(self.definition, result, self._planned(self.plan, context, event))
        return result


class Engine:
    """Prepares requests against one schema."""

    def __init__(self, schema: GraphQLSchema, *, introspection: bool, plans: PlanMode = PlanMode.ON) -> None:
        self._schema = schema
        self._documents = Documents(schema, introspection=introspection)
        self._plans = Plans(schema)
        self._is_off = plans is PlanMode.OFF
        self._shadows = plans is PlanMode.SHADOW

    def prepare(self, request: GraphQLRequest, context: OperationContext) -> Operation | Response:
        """Make a request ready to run, or give the response that says why it cannot be."""
        prepared = self._documents.get(request.query)
        if not isinstance(prepared, Prepared):
            return failed(prepared)
        too_many = check_values(request.variables) if request.variables else None
        if too_many is not None:
            return failed([too_many])
        operation = self._operation(prepared.document, request, context)
        if not isinstance(operation, Operation):
            return operation
        estimated = _estimated(prepared, operation)
        return self._dried(prepared, request, estimated) if prepared.may_be_dry else estimated

    def _dried(
        self, prepared: Prepared, request: GraphQLRequest, operation: Operation | Response
    ) -> Operation | Response:
        """Leave out what is not to be executed, where an operation only asks what it would cost."""
        if not isinstance(operation, Operation):
            return operation
        document = dry_run(prepared.document, operation.definition, operation.variables.coerced)
        if document is None:
            return operation
        left = self._unplanned(document, request, operation.context, "dry run")
        if isinstance(left, Operation):
            left.estimate, left.is_dry = operation.estimate, True
        return left

    def _operation(
        self, document: DocumentNode, request: GraphQLRequest, context: OperationContext
    ) -> Operation | Response:
        if self._is_off:
            return self._unplanned(document, request, context, "off")
        known = self._plans.know(document, request.operation_name)
        if known is None:
            return self._unplanned(document, request, context, NEW)
        outline = known.outline
        if outline is None:
            return self._unplanned(document, request, context, "operation")
        variables = self._variables(outline, request) if outline.operation.variable_definitions else _NO_VARIABLES
        if isinstance(variables, list):
            return failed([_request_error(error, request) for error in variables])
        plan = self._plans.find(known, variables)
        if isinstance(plan, str):
            return self._unplanned(document, request, context, plan)
        metrics.PLANNED.count += 1
        build: Any = functools.partial(self._build, document, request, context)
        operation = outline.operation
        return Operation(operation, operation.operation, context, variables, plan, self._shadows, build)

    def _variables(self, outline: Outline, request: GraphQLRequest) -> VariableValues | list[GraphQLError]:
        given = request.variables or {}
        plain = coerced_plainly(outline.variables, given) if outline.variables is not None else None
        return plain or get_variable_values(
            self._schema,
            outline.operation.variable_definitions or (),
            dict(given),
            max_errors=_MAX_COERCION_ERRORS,
            hide_suggestions=True,
        )

    def _unplanned(
        self, document: DocumentNode, request: GraphQLRequest, context: OperationContext, reason: str
    ) -> Operation | Response:
        executor = self._build(document, request, context)
        if not isinstance(executor, Executor):
            return failed([_request_error(error, request) for error in executor])
        metrics.OPERATIONS.labels(reason).inc()
        operation = executor.operation
        return Operation(
            operation,
            operation.operation,
            context,
            executor.variable_values,
            None,
            shadows=False,
            build=lambda: executor,
        )

    def _build(
        self, document: DocumentNode, request: GraphQLRequest, context: OperationContext
    ) -> Executor[Any] | list[GraphQLError]:
        return Executor.build(
            self._schema,
            document,
            root_value=_ROOT,
            context_value=context,
            raw_variable_values=dict(request.variables or {}),
            operation_name=request.operation_name,
            max_coercion_errors=_MAX_COERCION_ERRORS,
            hide_suggestions=True,
        )


def _estimated(prepared: Prepared, operation: Operation) -> Operation | Response:
    """Say what an operation costs, now that its variables are known, or that it is too much."""
    name = operation.definition.name
    formula = prepared.formulas[name.value if name is not None else None]
    estimate = formula.of(operation.variables.coerced) if formula.terms else formula.certain
    if estimate.cost > MAX_COST:
        return failed([too_costly(estimate)])
    operation.estimate = estimate
    return operation


def present(result: ExecutionResult, context: OperationContext, extensions: Response | None = None) -> Response:
    """Give the response form of a result; it names the optional fields that could not be had."""
    response: Response = {"errors": [present_error(error) for error in result.errors]} if result.errors else {}
    response["data"] = result.data
    degraded = context.app.degraded
    if extensions or degraded:
        response["extensions"] = {**(extensions or {}), **({"degraded": sorted(degraded)} if degraded else {})}
    return response


def failed(errors: Sequence[GraphQLError]) -> Response:
    """Give the response form of a request that was not executed: errors, and no data at all."""
    return {"errors": [present_error(error) for error in errors]}


def _too_late() -> Response:
    return failed([GraphQLError("", original_error=DeadlineExceeded())])


def _request_error(error: GraphQLError, request: GraphQLRequest) -> GraphQLError:
    unresolved = error.message.startswith(("Must provide", "Unknown operation"))
    error.extensions = {"code": "OPERATION_RESOLUTION_FAILURE" if unresolved else "BAD_USER_INPUT"}
    if unresolved and request.operation_name is not None:
        error.message = "The document has no operation of that name."
    error.message = without_values(error.message)
    return shortened(error)


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
