"""Work that one process at a time does for a cell: turn after turn, under a lease that is renewed beside it."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

from prometheus_client import Counter

from domain.errors import Overloaded
from events.process import backoffs
from storage import leases
from storage.cells import Cell
from storage.redis_client import CacheUnavailable

PUT_OFF_S: Final = 300.0
"""After how long something is tried again that failed by itself, while all else went on."""
_LOG: Final = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another process has the job by now, or may have it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """The right to do a job of a cell, for a while; it is renewed every so many seconds, if not after a third of it."""

    cell: Cell
    job: str
    length: dt.timedelta
    renewed_every: float | None = None
    holder: uuid.UUID = dataclasses.field(default_factory=uuid.uuid4)

    async def claim(self) -> bool:
        """Take it, or keep it; False while somebody else has it."""
        return await leases.claim(self.cell, self.job, self.holder, self.length)

    async def release(self) -> None:
        """Give it back, so that the next need not wait for its end."""
        with contextlib.suppress(Overloaded):
            await leases.release(self.cell, self.job, self.holder)

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renew it for as long as the context is open.

        Raises:
            LeaseLost: it could not be renewed in time, and what was done under it was ended.
        """
        scope = asyncio.timeout(None)
        try:
            async with scope:
                renewing = asyncio.create_task(self._renew(scope))
                try:
                    yield
                finally:
                    renewing.cancel()
                    await asyncio.wait([renewing])
        except TimeoutError:
            if scope.expired():
                raise LeaseLost from None
            raise

    async def _renew(self, scope: asyncio.Timeout) -> None:
        length = self.length.total_seconds()
        ends = time.monotonic() + length
        while time.monotonic() < ends:
            await asyncio.sleep(self.renewed_every or length / 3)
            asked = time.monotonic()
            with contextlib.suppress(Overloaded, OSError):
                if not await self.claim():
                    break
                ends = asked + length
        scope.reschedule(asyncio.get_running_loop().time())


async def run_leased(lease: Lease, turn: Callable[[], Awaitable[None]], *, every: float, failures: Counter) -> None:
    """Take turns under a lease, every so many seconds, until cancelled; what fails is tried again after a pause."""
    pauses = backoffs()
    try:
        while True:
            try:
                if await lease.claim():
                    async with lease.kept():
                        await turn()
                pauses = backoffs()
                await asyncio.sleep(every)
            except (Overloaded, CacheUnavailable, LeaseLost, OSError) as error:
                failures.labels(type(error).__name__).inc()
                _LOG.warning("%s of cell %d pauses: %s", lease.job, lease.cell.number, type(error).__name__)
                await asyncio.sleep(next(pauses))
    finally:
        await lease.release()


class OneByOne:
    """Does something for one person after the other: whoever it fails for is put off, and holds up nobody else."""

    def __init__(self, job: str, failures: Counter) -> None:
        self._job = job
        self._failures = failures
        self._until: dict[int, float] = {}

    @property
    def put_off(self) -> Collection[int]:
        """Give whose turn has not come again."""
        self._until = {user_id: until for user_id, until in self._until.items() if until > time.monotonic()}
        return sorted(self._until)

    async def attempt(self, user_id: int, work: Awaitable[None]) -> None:
        """Do it; what says that a part is away ends the turn, what else fails is this person's alone."""
        try:
            await work
        except (Overloaded, CacheUnavailable, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - others wait behind this one
            # What an error says may be personal: its kind is all that is told.
            self._failures.labels(type(error).__name__).inc()
            _LOG.error("%s fails for somebody, and is put off: %s", self._job, type(error).__name__)
            self._until[user_id] = time.monotonic() + PUT_OFF_S
