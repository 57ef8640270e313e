"""How often things may be done here: rates per account and per address, counted in Redis or else in this process.

Accounts are counted by what is claimed, whether or not there is such an account: a limit tells nothing of that. What is
kept in Redis are keyed digests.
"""

import asyncio
import dataclasses
import datetime as dt
import math
from collections.abc import Mapping, Sequence

from domain.digests import Digests
from domain.rate_limits import RATES, OperationClass, Rate, Standing
from identity.metrics import LIMITED
from storage.rate_windows import RateWindows


class TooOften(Exception):
    """This was done too often; `headers` say when it may be done again."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.headers = headers


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Counts, and refuses what is too much where that is enforced."""

    windows: RateWindows
    digests: Digests
    is_enforced: bool

    async def count(
        self, operation: OperationClass, address: str | None, account: str | None = None, client: str | None = None
    ) -> Mapping[str, str]:
        """Count an operation of a class for what is named; gives the headers that tell what is left.

        Raises:
            TooOften: this is one too many.
        """
        limits = self._limits(operation, address, account, client)
        within = await asyncio.gather(*(self.windows.hit(rate, *names) for rate, names in limits))
        standings = await asyncio.gather(*(self.windows.look(rate, *names) for rate, names in limits))
        tightest = _tightest([each for each, is_within in zip(standings, within, strict=True) if not is_within])
        if tightest is not None:
            LIMITED.labels(operation.value, "refused" if self.is_enforced else "counted").inc()
            if self.is_enforced:
                raise TooOften(_headers(tightest) | {"Retry-After": str(_seconds_left(tightest))})
        tightest = _tightest(standings)
        return _headers(tightest) if tightest is not None else {}

    def _limits(
        self, operation: OperationClass, address: str | None, account: str | None, client: str | None
    ) -> list[tuple[Rate, tuple[str, str, str]]]:
        rates, name = RATES[operation], operation.value.lower()
        at = None if address is None or client is None else f"{client} {address}"
        counted = {
            "address": (address, rates.address),
            "account": (account, rates.account),
            "client": (at, rates.client),
        }
        return [
            (rate, (name, what, self._digest(whose)))
            for what, (whose, several) in counted.items()
            if whose is not None
            for rate in several
        ]

    def _digest(self, text: str) -> str:
        return (self.digests.of(text) or b"").hex()


def _tightest(standings: Sequence[Standing]) -> Standing | None:
    """Give the one that is whole again last, of those of which the least is left."""
    return min(standings, key=lambda each: (each.remaining, -each.resets_at.timestamp()), default=None)


def _headers(standing: Standing) -> dict[str, str]:
    return {
        "x-ratelimit-limit": str(standing.limit),
        "x-ratelimit-remaining": str(standing.remaining),
        "x-ratelimit-used": str(standing.used),
        "x-ratelimit-reset": str(math.ceil(standing.resets_at.timestamp())),
    }


def _seconds_left(standing: Standing) -> int:
    return max(1, math.ceil((standing.resets_at - dt.datetime.now(dt.UTC)).total_seconds()))
