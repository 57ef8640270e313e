"""What every door does with an operation: the same limits, the same counting, the same masking of errors."""

import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, Final

from graphql import GraphQLError, OperationType

from domain import acting, deadlines
from domain.errors import InvalidInput, Overloaded, RateLimited
from execution.engine import Engine, GraphQLRequest, Operation, Response, failed
from execution.persisted import DocumentRefused, PersistedDocuments
from execution.tallies import HistogramTally
from resolvers.consents import Signals, heed_signal
from resolvers.context import Backend, Context, new_context
from resolvers.delivery import Delivered
from resolvers.quotas import Payer
from resolvers.repeats import Repeats
from schema.fields import OperationContext
from transport.access import Caller
from transport.admission import Admission
from transport.bodies import BadRequest, consistency_token_of
from transport.early import RETRY_AFTER_S
from transport.metrics import BACKLOG, DELIVERED, DROPPED, OPERATIONS, REFUSALS, SUBSCRIPTIONS
from transport.patience import Patience
from transport.repeats import Named, run_once

REFUSED_COST: Final = 10
"""What a request costs that is none: it was read and checked all the same."""


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
        if self._admission.has_turn() or await self._admission.turn():
            prepared = await self._prepare(asked, caller, tokens)
        else:
            prepared = failed([GraphQLError("", original_error=Overloaded(retryAfter=RETRY_AFTER_S))])
        if isinstance(prepared, dict):
            REFUSALS.labels(prepared["errors"][0]["extensions"]["code"]).inc()
        return prepared

    async def _prepare(self, asked: GraphQLRequest, caller: Caller, tokens: Sequence[str]) -> Operation | Response:
        try:
            found = asked if self._persisted.is_at_hand(asked) else await self._persisted.find(asked)
            token = consistency_token_of(asked, tokens)
            context = new_context(
                self._backend,
                caller.user_id,
                consistency_token=token,
                credentials=caller.credentials,
                address=caller.sender.address,
                opts_out=caller.sender.opts_out,
            )
            return await self._charged(asked, found, context)
        except RateLimited as error:
            return failed([GraphQLError("", original_error=error)])
        except (BadRequest, DocumentRefused, InvalidInput) as error:
            return {"errors": [{"message": str(error), "extensions": {"code": error.code}}]}

    async def _charged(self, asked: GraphQLRequest, found: GraphQLRequest, context: Context) -> Operation | Response:
        """Prepare what the caller can pay for: whoever has nothing left costs us next to nothing, too."""
        quotas, charge = self._backend.quotas, context.charge
        quotas.expect_some_left(charge.payer)
        prepared = self._engine.prepare(found, OperationContext(context))
        if isinstance(prepared, Operation):
            charge.cost, charge.nodes = prepared.estimate.price, prepared.estimate.nodes
            prepared.tells_cost = asked.extensions is not None and asked.extensions.get("cost") is True
            if not quotas.spend_leased(charge.payer, prepared.cost):
                await quotas.spend(charge.payer, prepared.cost)
            if asked.extensions is not None:
                await self._persisted.keep(asked)
        else:
            await quotas.spend(charge.payer, REFUSED_COST)
        return prepared

    def budget_headers(self, caller: Caller) -> Mapping[str, str]:
        """Give the headers that tell how much the caller may still ask, in GitHub's words."""
        figures = self._backend.quotas.figures(Payer(caller.user_id, caller.sender.address))
        if figures is None:
            return {}
        limit, used, resets_at = figures
        return {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(max(0, limit - used)),
            "x-ratelimit-used": str(used),
            "x-ratelimit-reset": str(resets_at),
        }

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
            waiting = context.loaders.begin() if _asks(operation) else None
            if waiting is not None:
                await waiting
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


_OUTCOMES: Final = ("ok", "errors")
_OBSERVED: Final = {
    (type_, outcome): HistogramTally(OPERATIONS.labels(type_.value, outcome))
    for type_ in OperationType
    for outcome in _OUTCOMES
}


def _observe(operation: Operation, response: Response, started: float) -> None:
    outcome = "errors" if "errors" in response else "ok"
    _OBSERVED[operation.type, outcome].observe(time.perf_counter() - started)


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
