"""Asking what a process works with for a sign of life, all at once and within a bound."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

Ping = Callable[[], Awaitable[object]]


async def ask_all(pings: Mapping[str, Ping], *, within: float) -> dict[str, str]:
    """Give `ok` or `away` for each, after so many seconds at most."""
    return dict(zip(pings, await asyncio.gather(*(_ask(ping, within) for ping in pings.values())), strict=True))


async def _ask(ping: Ping, within: float) -> str:
    try:
        async with asyncio.timeout(within):
            await ping()
    except Exception:  # noqa: BLE001 - any failure means "away", and its text is nobody's business here
        return "away"
    return "ok"
