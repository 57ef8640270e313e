"""The caller's own limits, as they are shown."""

import dataclasses
import datetime as dt
from collections.abc import Sequence

from domain.rate_limits import OperationClass, Standing
from resolvers.context import Context


@dataclasses.dataclass(frozen=True, slots=True)
class BudgetView:
    """A budget, and what one operation takes of it."""

    cost: int
    node_count: int
    limit: int
    remaining: int
    used: int
    reset_at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class RateView:
    """One limit of one class of operations."""

    operation: OperationClass
    limit: int
    window_seconds: int
    remaining: int
    used: int
    reset_at: dt.datetime


def read_budget(context: Context) -> BudgetView | None:
    """Give the budget of whoever pays for this operation; None where there is no limit."""
    charge = context.charge
    budget = context.backend.quotas.budget(charge.payer)
    if budget is None:
        return None
    return BudgetView(charge.cost, charge.nodes, budget.limit, budget.remaining, budget.used, budget.resets_at)


async def fetch_rates(context: Context) -> Sequence[RateView]:
    """Give every limit of the classes of operations."""
    return [_view(*row) for row in await context.backend.quotas.rates(context.charge.payer)]


def _view(operation: OperationClass, rate: Standing) -> RateView:
    return RateView(operation, rate.limit, rate.seconds, rate.remaining, rate.used, rate.resets_at)
