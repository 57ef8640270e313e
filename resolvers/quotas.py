"""What may be asked how often: a budget of points for everything, and rates for what is worth abusing.

A person pays for what is asked with the person's token, an address for what is asked without one. What an operation
costs depends on its document and variables alone: neither a budget nor a refusal says whether somebody is there.
"""

import asyncio
import dataclasses
import datetime as dt
import functools
import math
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol

import msgspec

from domain.digests import Digests
from domain.errors import RateLimited
from domain.rate_limits import RATES, OperationClass, Rate, Standing
from storage.budgets import WINDOW_S, Account, Budgets
from storage.metrics import RATE_LIMITED
from storage.rate_windows import Hits, RateWindows

_BUDGET: Final = "BUDGET"


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """How many points a person and an address have a minute, and whether what goes beyond a limit is refused."""

    person: int
    address: int
    enforced: bool


class Payer(msgspec.Struct, frozen=True):
    """Who pays: a person, or the address of somebody who is not signed in; and from where."""

    user_id: int | None = None
    address: str = ""


class Charge(msgspec.Struct):
    """What one operation is charged for."""

    payer: Payer
    cost: int = 0
    nodes: int = 0
    account: Account | None = None
    """What it is spent of, where there is a limit."""


class Quotas(Protocol):
    """Counts what is asked, and refuses what is too much."""

    def expect_some_left(self, payer: Payer) -> Account | None:
        """Give what the payer spends of now, None where there is no limit; raises RateLimited where nothing is left."""

    def spend_leased(self, account: Account | None, cost: int) -> bool:
        """Spend of it at once; False where this process would have to ask for more of it first."""

    async def spend(self, payer: Payer, cost: int) -> None:
        """Spend of the payer's budget; raises RateLimited where it is not enough."""

    async def count(self, payer: Payer, operation: OperationClass, *, account: str | None = None) -> None:
        """Count an operation of a class; raises RateLimited where it is one too many.

        `account` is the one that is claimed where nobody is signed in yet, such as the name at a sign-in.
        """

    def budget(self, payer: Payer) -> Standing | None:
        """Tell how much of the payer's budget is spent; None where there is no limit."""

    def figures(self, payer: Payer, account: Account | None = None) -> tuple[int, int, int] | None:
        """Give the limit, what is used of it, and when it is whole again (seconds since 1970); None as above.

        `account` is the payer's, where it has been looked for already.
        """

    async def rates(self, payer: Payer) -> Sequence[tuple[OperationClass, Standing]]:
        """Tell how often the payer did what has limits of its own."""


class Unlimited:
    """The quotas of a world without limits."""

    def expect_some_left(self, payer: Payer) -> None:
        """Refuse nothing."""

    def spend_leased(self, account: Account | None, cost: int) -> bool:
        """Refuse nothing."""
        del account, cost
        return True

    async def spend(self, payer: Payer, cost: int) -> None:
        """Refuse nothing."""

    async def count(self, payer: Payer, operation: OperationClass, *, account: str | None = None) -> None:
        """Refuse nothing."""

    def budget(self, payer: Payer) -> Standing | None:
        """Tell that there is no limit."""
        del payer
        return None

    def figures(self, payer: Payer, account: Account | None = None) -> tuple[int, int, int] | None:
        """Tell that there is no limit."""
        del payer, account
        return None

    async def rates(self, payer: Payer) -> Sequence[tuple[OperationClass, Standing]]:
        """Tell of nothing."""
        del payer
        return ()


class Limited:
    """The quotas of a process, shared through Redis with all others. Addresses are known by keyed digests only."""

    def __init__(self, budgets: Budgets, windows: RateWindows, digests: Digests, terms: Terms) -> None:
        self._budgets = budgets
        self._windows = windows
        self._terms = terms
        self._digest = functools.lru_cache(maxsize=4096)(lambda text: (digests.of(text) or b"").hex())

    def expect_some_left(self, payer: Payer) -> Account | None:
        """Give what the payer spends of now; raises RateLimited where nothing is left."""
        account = self._account(payer)
        if not account.left and account.is_exhausted:
            self._refuse(_BUDGET, self._standing(account))
        return account

    def spend_leased(self, account: Account | None, cost: int) -> bool:
        """Spend of it at once; False where this process would have to ask for more of it first."""
        return account is not None and self._budgets.spend_leased(account, cost)

    async def spend(self, payer: Payer, cost: int) -> None:
        """Spend of the payer's budget; raises RateLimited where it is not enough."""
        if not await self._budgets.spend(*self._purse(payer), cost):
            self._refuse(_BUDGET, self._standing(self._account(payer)))

    def count(
        self, payer: Payer, operation: OperationClass, *, account: str | None = None
    ) -> Coroutine[Any, Any, None]:
        """Count an operation of a class, at once; what is given raises RateLimited where it is one too many.

        `account` is the one that is claimed where nobody is signed in yet, such as the name at a sign-in.
        """
        limits = self._limits(payer, operation, account)
        return self._count(operation, limits, self._windows.begin(limits))

    async def _count(
        self, operation: OperationClass, limits: Sequence[tuple[Rate, tuple[str, str, str]]], begun: Hits
    ) -> None:
        within = await self._windows.hits(begun)
        reached = [limit for limit, is_within in zip(limits, within, strict=True) if not is_within]
        if reached and self._terms.enforced:
            standings = [await self._windows.look(rate, *names) for rate, names in reached]
            self._refuse(operation.value, max(standings, key=lambda standing: standing.resets_at))
        elif reached:
            RATE_LIMITED.labels(operation.value, "counted").inc()

    def budget(self, payer: Payer) -> Standing | None:
        """Tell how much of the payer's budget is spent."""
        return self._standing(self._account(payer))

    def figures(self, payer: Payer, account: Account | None = None) -> tuple[int, int, int] | None:
        """Give the limit, what is used of it, and when it is whole again (seconds since 1970)."""
        if account is None or self._budgets.is_over(account):
            account = self._account(payer)
        return account.limit, account.used, math.ceil(account.resets_at)

    async def rates(self, payer: Payer) -> Sequence[tuple[OperationClass, Standing]]:
        """Tell how often a person, or else the address, did what has limits of its own."""
        rows = [(each, self._limits(payer, each, None)) for each in OperationClass]
        scope = "address" if payer.user_id is None else "account"
        own = [(each, rate, names) for each, limits in rows for rate, names in limits if names[1] == scope]
        found = await asyncio.gather(*(self._windows.look(rate, *names) for _, rate, names in own))
        return [(each, standing) for (each, _, _), standing in zip(own, found, strict=True)]

    def _limits(
        self, payer: Payer, operation: OperationClass, claimed: str | None
    ) -> list[tuple[Rate, tuple[str, str, str]]]:
        rates, name, limits = RATES[operation], operation.value.lower(), []
        account = self._digest(claimed) if claimed is not None else payer.user_id
        if account is not None:
            limits += [(rate, (name, "account", str(account))) for rate in rates.account]
        if payer.address:
            limits += [(rate, (name, "address", self._digest(payer.address))) for rate in rates.address]
        return limits

    def _purse(self, payer: Payer) -> tuple[str, int]:
        if payer.user_id is not None:
            return f"budget:{{{payer.user_id}}}", self._terms.person
        return f"budget:{{{self._digest(payer.address)}}}", self._terms.address

    def _account(self, payer: Payer) -> Account:
        return self._budgets.look(*self._purse(payer))

    def _standing(self, account: Account) -> Standing:
        return Standing(account.limit, account.used, dt.datetime.fromtimestamp(account.resets_at, dt.UTC), WINDOW_S)

    def _refuse(self, what: str, standing: Standing) -> None:
        RATE_LIMITED.labels(what, "refused" if self._terms.enforced else "counted").inc()
        if self._terms.enforced:
            left = (standing.resets_at - dt.datetime.now(dt.UTC)).total_seconds()
            raise RateLimited(retryAfter=max(1, math.ceil(left)), resetAt=standing.resets_at.isoformat())
