"""What every door does with an operation: the same limits, the same counting, the same masking of errors."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from typing import Any, Final

from graphql import GraphQLError, OperationType

from domain import acting, deadlines
from domain.errors import InvalidInput, KithError, Overloaded, RateLimited
from execution.engine import Engine, GraphQLRequest, Operation, Response, failed
from execution.persisted import DocumentRefused, PersistedDocuments
from execution.tallies import HistogramTally
from resolvers.consents import Signals, heed_signal
from resolvers.context import Backend, new_context
from resolvers.delivery import Delivered
from resolvers.quotas import Charge, Payer
from resolvers.repeats import Repeats
from schema.fields import OperationContext
from transport.access import Caller
from transport.admission import Admission
from transport.bodies import BadRequest, consistency_token_of
from transport.eager import until
from transport.early import RETRY_AFTER_S
from transport.metrics import BACKLOG, DELIVERED, DROPPED, OPERATIONS, REFUSALS, SUBSCRIPTIONS
from transport.patience import Patience
from transport.repeats import Named, run_once

REFUSED_COST: Final = 10
"""What a request costs that is none: it was read and checked all the same."""
_REFUSALS: Final = (RateLimited, BadRequest, DocumentRefused, InvalidInput)
READY: Final = (Operation, dict)
"""What has been prepared: to be run, or the response that says why it cannot be."""


class Operations:
    """Prepares and runs operations for callers."""

    def __init__(
        self,
        engine: Engine,
        backend: Backend,
        persisted: PersistedDocuments,
        patience: Patience,
        admission: Admission,
    ) -> None:
        self._engine = engine
        self._backend = backend
        self._persisted = persisted
        self._patience = patience
        self._admission = admission
        self._signals = Signals()
        self._repeats = Repeats(backend.database, backend.repeats)

    async def prepare(
        self, asked: GraphQLRequest, caller: Caller, *, tokens: Sequence[str] = ()
    ) -> Operation | Response:
        """Make a request ready to run, or give the response that says why it cannot be.

        `tokens` are the consistency tokens of its headers, beside the one it may hold itself.
        """
        prepared = self.begin_to_prepare(asked, caller, tokens)
        return prepared if isinstance(prepared, READY) else await prepared

    def begin_to_prepare(
        self, asked: GraphQLRequest, caller: Caller, tokens: Sequence[str] = ()
    ) -> Operation | Response | Awaitable[Operation | Response]:
        """Do the same as far as nothing has to be waited for: gives what `prepare` does, or what awaits the rest."""
        if not (self._admission.has_turn() and self._persisted.is_at_hand(asked)):
            return self._prepare_later(asked, caller, tokens)
        try:
            prepared, owed = self._priced(asked, asked, caller, tokens)
        except _REFUSALS as error:
            return _refused(error)
        return self._paid(asked, prepared, caller, owed) if owed else _counted(prepared)

    async def _prepare_later(
        self, asked: GraphQLRequest, caller: Caller, tokens: Sequence[str]
    ) -> Operation | Response:
        if not await self._admission.turn():
            return _refused(Overloaded(retryAfter=RETRY_AFTER_S))
        try:
            found = await self._persisted.find(asked)
            prepared, owed = self._priced(asked, found, caller, tokens)
        except _REFUSALS as error:
            return _refused(error)
        return await self._paid(asked, prepared, caller, owed)

    def _priced(
        self, asked: GraphQLRequest, found: GraphQLRequest, caller: Caller, tokens: Sequence[str]
    ) -> tuple[Operation | Response, int]:
        """Prepare what the caller can pay for: whoever has nothing left costs us next to nothing, too.

        Gives what the caller owes still as well: nothing where enough of the budget is leased.
        """
        sender, quotas = caller.sender, self._backend.quotas
        context = new_context(
            self._backend,
            caller.user_id,
            consistency_token=consistency_token_of(asked, tokens),
            credentials=caller.credentials,
            address=sender.address,
            opts_out=sender.opts_out,
        )
        charge, cost = context.charge, REFUSED_COST
        account = charge.account = quotas.expect_some_left(charge.payer)
        prepared = self._engine.prepare(found, OperationContext(context))
        if isinstance(prepared, Operation):
            cost, estimate = prepared.cost, prepared.estimate
            charge.cost, charge.nodes = estimate.price, estimate.nodes
            prepared.tells_cost = asked.extensions is not None and asked.extensions.get("cost") is True
        return prepared, 0 if quotas.spend_leased(account, cost) else cost

    async def _paid(
        self, asked: GraphQLRequest, prepared: Operation | Response, caller: Caller, owed: int
    ) -> Operation | Response:
        """Have paid what is owed; then a document that was sent with its hash is kept."""
        try:
            if owed:
                await self._backend.quotas.spend(_payer(caller), owed)
            if isinstance(prepared, Operation) and asked.extensions is not None:
                await self._persisted.keep(asked)
        except _REFUSALS as error:
            return _refused(error)
        return _counted(prepared)

    def budget_lines(self, caller: Caller, charge: Charge | None = None) -> str:
        """Give the lines of a head that tell how much the caller may still ask, in GitHub's words.

        `charge` is that of the operation, where there is one.
        """
        quotas = self._backend.quotas
        figures = quotas.figures(charge.payer, charge.account) if charge else quotas.figures(_payer(caller))
        if figures is None:
            return ""
        limit, used, resets_at = figures
        left = limit - used if used < limit else 0
        return (
            f"x-ratelimit-limit: {limit}\r\nx-ratelimit-remaining: {left}\r\n"
            f"x-ratelimit-used: {used}\r\nx-ratelimit-reset: {resets_at}\r\n"
        )

    def run(
        self, operation: Operation, asked: str | None = None, named: Named | None = None
    ) -> Coroutine[Any, Any, Response]:
        """Run a query or a mutation; `asked` is what the client says of the seconds it may take.

        One that is `named` runs once, and is answered alike however often it is sent.

        Raises:
            BadRequest: that is not a number of seconds, or the name cannot be used now.
        """
        if named is None:
            return self._run(operation, asked)
        return run_once(self._repeats, operation, named, lambda: self._run(operation, asked))

    async def _run(self, operation: Operation, asked: str | None) -> Response:
        started = time.perf_counter()
        with (
            deadlines.within(self._patience.of(operation.type, asked)),
            self._admission,
            acting.in_session(operation.context.app.session),
        ):
            context = operation.context.app
            if context.opts_out:
                await heed_signal(context, self._signals)
            if _asks(operation):
                asker = context.loaders.asker
                beat = asker.join()
                if beat is not None:
                    await until(beat)
                    asker.heed(beat)
            response = operation.begin()
            if not isinstance(response, dict):
                response = await response
        _observe(operation, response, started)
        if operation.tells_cost and "data" in response:
            estimate = operation.estimate
            cost = {"cost": estimate.price, "nodeCount": estimate.nodes}
            response["extensions"] = {**response.get("extensions", {}), "cost": cost}
        return response

    async def stream(self, operation: Operation) -> AsyncIterator[Response]:
        """Run a subscription; what it holds is let go of when the iterator is closed."""
        started = time.perf_counter()
        response: Response = {}
        SUBSCRIPTIONS.inc()
        try:
            await heed_signal(operation.context.app, self._signals)
            responses: Any = operation.stream(_context_of, _extensions_of)
            async with contextlib.aclosing(responses) as stream:
                async for response in stream:
                    yield response
                    DELIVERED.inc("data" in response)
        finally:
            SUBSCRIPTIONS.dec()
            _observe(operation, response, started)


def _payer(caller: Caller) -> Payer:
    return Payer(caller.user_id, caller.sender.address)


def _refused(error: KithError) -> Operation | Response:
    if isinstance(error, RateLimited | Overloaded):
        return _counted(failed([GraphQLError("", original_error=error)]))
    return _counted({"errors": [{"message": str(error), "extensions": {"code": error.code}}]})


def _counted(prepared: Operation | Response) -> Operation | Response:
    if isinstance(prepared, dict):
        REFUSALS.labels(prepared["errors"][0]["extensions"]["code"]).inc()
    return prepared


def _tallies(outcome: str) -> dict[OperationType, HistogramTally]:
    return {type_: HistogramTally(OPERATIONS.labels(type_.value, outcome)) for type_ in OperationType}


_FINE: Final = _tallies("ok")
_FINE_QUERIES: Final = _FINE[OperationType.QUERY]  # an enum's hash is a function of Python's
_FAILED: Final = _tallies("errors")


def _observe(operation: Operation, response: Response, started: float) -> None:
    tally = _FINE_QUERIES
    if "errors" in response:
        tally = _FAILED[operation.type]
    elif operation.type is not OperationType.QUERY:
        tally = _FINE[operation.type]
    tally.observe(time.perf_counter() - started)


def _asks(operation: Operation) -> bool:
    """Tell whether to learn first what may be used of all that is remembered: such a plan then never waits."""
    return operation.type is OperationType.QUERY and operation.plan is not None and operation.plan.asks


def _context_of(event: Delivered) -> OperationContext:
    """Every event is executed with what was read for it alone."""
    return OperationContext(event.context)


def _extensions_of(event: Delivered) -> Response | None:
    BACKLOG.observe(event.waiting)
    DROPPED.inc(event.dropped)
    return {"dropped": event.dropped} if event.dropped else None
