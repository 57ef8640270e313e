"""Keys that an issuer publishes: fetched now and then, kept for as long as it cannot be reached.

All fetches, those for the sake of an unknown key among them, are at least 30 s apart, and those who want one at the
same time share it: whoever sends tokens under a thousand names that nobody knows makes the issuer hear of one.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from auth.discovery import IssuerUnavailable
from auth.jwks import VerificationKey
from auth.metrics import KEY_FETCHES

APART_S: Final = 30.0
"""How long after a fetch the next one may begin, once there are keys to go on with."""
EVERY_S: Final = 300.0
"""How often keys are fetched when nobody misses any: a key that was withdrawn counts no longer than that."""
WAIT_S: Final = 3.0
"""How long a request waits for the fetch that may bring its key."""
_FIRST_PAUSE_S: Final = 0.25
_LOG: Final = logging.getLogger(__name__)

Fetch = Callable[[], Awaitable[Mapping[str, VerificationKey]]]


class FetchedKeys:
    """The keys of an issuer, as last fetched."""

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, VerificationKey] = {}
        self._failures = 0
        self._last = float("-inf")
        self._under_way: asyncio.Task[None] | None = None

    def find(self, kid: str) -> VerificationKey | None:
        """Give the key of this name, from memory."""
        return self._keys.get(kid)

    async def refresh(self) -> None:
        """Fetch, unless that was done in the last 30 s; waits for a fetch that is under way, but not for long."""
        under_way = self._under_way
        if under_way is None and self._keys and self._clock() - self._last >= APART_S:
            under_way = self._begin()
        if under_way is not None:
            await asyncio.wait({under_way}, timeout=WAIT_S)

    async def ping(self) -> None:
        """Tell whether tokens can be checked at all; raises IssuerUnavailable."""
        if not self._keys:
            raise IssuerUnavailable

    @contextlib.asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator["FetchedKeys"]:
        """Fetch at once and then from time to time, until the context closes."""
        keeping = asyncio.create_task(self._keep_fresh())
        try:
            yield self
        finally:
            tasks = {keeping, *({self._under_way} if self._under_way is not None else ())}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_fresh(self) -> None:
        while True:
            wait = self._pause() - (self._clock() - self._last)
            if wait > 0:
                await asyncio.sleep(wait)
                continue  # meanwhile a request may have had them fetched
            await asyncio.shield(self._under_way or self._begin())

    def _pause(self) -> float:
        """Say how long to let the issuer alone: with every failure longer, and with keys at hand never hurriedly."""
        if not self._failures:
            return EVERY_S
        backing_off = _FIRST_PAUSE_S * 2.0 ** min(self._failures, 12)
        return min(EVERY_S, max(backing_off, APART_S)) if self._keys else min(APART_S, backing_off)

    def _begin(self) -> asyncio.Task[None]:
        self._last = self._clock()
        self._under_way = asyncio.create_task(self._fetch_once())
        return self._under_way

    async def _fetch_once(self) -> None:
        try:
            self._keys = await self._fetch()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the keys at hand go on to count
            self._failures += 1
            KEY_FETCHES.labels("failed").inc()
            reason = error if isinstance(error, IssuerUnavailable) else type(error).__name__
            _LOG.warning("the issuer's keys could not be fetched: %s", reason)
        else:
            self._failures = 0
            KEY_FETCHES.labels("ok").inc()
        finally:
            self._under_way = None
