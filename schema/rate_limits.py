"""What the caller may still ask, and how often."""

import datetime as dt
from collections.abc import Sequence

import strawberry

from domain.rate_limits import RATES
from resolvers.context import Context
from resolvers.rate_limits import BudgetView, RateView, fetch_rates, read_budget
from schema.costs import ListSize
from schema.enums import OperationClass
from schema.fields import attribute, level


async def rates(context: Context, budgets: Sequence[BudgetView]) -> list[Sequence[RateView]]:
    """What has limits of its own, whatever it costs: a row for each limit of the person, or else of the address."""
    return [await fetch_rates(context)] * len(budgets)


@strawberry.type(description="How often one kind of thing may be done in so many seconds, whenever they begin.")
class OperationRateLimit:
    """Source: `resolvers.rate_limits.RateView`."""

    operation: OperationClass
    limit: int
    window_seconds: int
    remaining: int
    used: int
    reset_at: dt.datetime = attribute("reset_at", description="When some of it is free again.")


@strawberry.type(description="The budget of points of whoever asks, and what this operation takes of it.")
class RateLimit:
    """Source: `resolvers.rate_limits.BudgetView`."""

    cost: int = attribute("cost", description="What this operation costs, by `@cost` and `@listSize`; 1 at least.")
    node_count: int = attribute("node_count", description="How many objects with ids it could reach.")
    limit: int = attribute("limit", description="How many points there are a minute.")
    remaining: int
    used: int
    reset_at: dt.datetime = attribute("reset_at", description="When all of them are there again.")
    operations: list[OperationRateLimit] = level(rates, size=ListSize(assumed_size=2 * len(RATES)))


async def rate_limit(
    context: Context, roots: Sequence[object], *, dry_run: bool | None = False
) -> list[BudgetView | None]:
    """The caller's budget; null where there is no limit. With `dryRun` nothing else of the operation is executed."""
    del dry_run  # it was heeded before anything ran
    return [read_budget(context)] * len(roots)
