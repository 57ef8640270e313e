"""Budgets that are spent in this process, out of leases that Redis gives: most requests cost no look at it.

A budget is so many points in a window, which begins with the first of them. A process takes a hundredth of it at once
from what is left for all processes, spends that, and asks for more before it is gone. What was taken and not spent is
lost with the window: with N processes somebody may be refused up to N - 1 hundredths early, and never late. Where Redis
does not answer, each process gives leases to itself.
"""

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Mapping
from time import monotonic, time
from typing import Final

from domain import deadlines
from storage.exchanges import Command
from storage.redis_client import CacheUnavailable, Redis

WINDOW_S: Final = 60
LEASES: Final = 100
"""Into how many leases a budget is cut."""
REMEMBERED: Final = 50_000


@dataclasses.dataclass(slots=True)
class Account:
    """What this process knows of one budget in one window."""

    key: str
    limit: int
    ends: float
    """When the window is over, by the clock of the process."""
    resets_at: float
    """The same in seconds since 1970."""
    left: int = 0
    """What is leased and not spent."""
    taken: int = 0
    """What all processes have leased, as far as is known."""
    asked: bool = False
    """Whether more is being asked for."""

    @property
    def used(self) -> int:
        """Give what was spent here or leased elsewhere."""
        return self.taken - self.left

    @property
    def lease(self) -> int:
        """Give how much is taken at once."""
        return self.limit // LEASES or 1

    @property
    def is_exhausted(self) -> bool:
        """Tell whether there is nothing more to lease."""
        return self.taken >= self.limit


class Budgets:
    """The budgets that this process has to do with; those that were not used for long are forgotten."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._accounts: collections.OrderedDict[str, Account] = collections.OrderedDict()
        self._wanted: dict[str, tuple[Account, int]] = {}
        self._round: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, key: str, limit: int) -> Account:
        """Give what is known of a budget, without asking."""
        account, now = self._accounts.get(key), self._clock()
        if account is None or account.ends <= now or account.limit != limit:
            account = self._accounts[key] = Account(key, limit, now + WINDOW_S, time() + WINDOW_S)
            if len(self._accounts) > REMEMBERED:
                self._accounts.popitem(last=False)
        return account

    def is_over(self, account: Account) -> bool:
        """Tell whether the window of an account is over: there is another by now, or will be."""
        return account.ends <= self._clock()

    async def spend(self, key: str, limit: int, cost: int) -> bool:
        """Spend of a budget; False where not enough of it is left, and then nothing is spent."""
        account = self.look(key, limit)
        if account.left < cost and not account.is_exhausted:
            await self._ask(account, cost)
        return self.spend_leased(self.look(key, limit), cost)

    def spend_leased(self, account: Account, cost: int) -> bool:
        """Spend of what is leased, at once; False where that is not enough, and then nothing is spent."""
        if account.left < cost:
            return False
        account.left -= cost
        if account.key in self._accounts:
            self._accounts.move_to_end(account.key)
        if account.left < account.lease // 2 and not account.asked and not account.is_exhausted:
            _ = self._want(account, 0)
        return True

    async def settle(self) -> None:
        """Wait for what is being asked for."""
        if self._round is not None:
            await asyncio.shield(self._round)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, account: Account, cost: int) -> None:
        """Ask for as much as is needed, and wait for it; once more where others took it first."""
        for _ in range(2):
            missing = cost - account.left
            if missing <= 0 or account.is_exhausted:
                return
            await asyncio.shield(self._want(account, missing))

    def _want(self, account: Account, missing: int) -> asyncio.Future[None]:
        """Ask for a lease, or what is missing beyond it, with the next look at Redis; all of this tick share it."""
        if self._round is None:
            loop = asyncio.get_running_loop()
            self._round = loop.create_future()
            loop.call_soon(self._begin)
        account.asked = True
        _, wanted = self._wanted.get(account.key, (account, 0))
        self._wanted[account.key] = (account, wanted + missing)
        return self._round

    def _begin(self) -> None:
        wanted = {key: (account, max(missing, account.lease)) for key, (account, missing) in self._wanted.items()}
        done = self._round
        self._wanted, self._round = {}, None
        if done is not None:
            with deadlines.under(None):  # others wait for it than whoever asked first
                task = asyncio.create_task(self._lease(wanted, done))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _lease(self, wanted: Mapping[str, tuple[Account, int]], done: asyncio.Future[None]) -> None:
        try:
            found = await _take(self._redis, wanted)
            for (account, points), (taken, milliseconds) in zip(wanted.values(), found, strict=True):
                left = max(0, milliseconds) / 1000
                account.ends, account.resets_at = self._clock() + left, time() + left
                _grant(account, points, taken)
        except CacheUnavailable:
            for account, points in wanted.values():
                _grant(account, points, account.taken + points)
        finally:
            for account, _ in wanted.values():
                account.asked = False
            done.set_result(None)


def _grant(account: Account, points: int, taken: int) -> None:
    """Add what was left of the points that were asked for, now that so much is taken in all."""
    before = taken - points
    account.left += min(points, max(0, account.limit - before))
    account.taken = min(taken, account.limit)


async def _take(redis: Redis, wanted: Mapping[str, tuple[Account, int]]) -> list[tuple[int, int]]:
    """Add to what is taken of each budget; gives the sums, and the milliseconds that the windows go on."""
    commands: list[Command] = []
    for key, (_, points) in wanted.items():
        commands += [("INCRBY", key, points), ("EXPIRE", key, WINDOW_S, "NX"), ("PTTL", key)]
    answers = await redis.exchange(commands)
    return list(zip(answers[::3], answers[2::3], strict=True))
