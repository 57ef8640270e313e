"""Is the process alive, and can it serve? Both answer within a bound, whatever hangs below."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from domain.probes import Ping, ask_all

TIMEOUT_S: Final = 2.0
DRAINING: Final = web.AppKey("draining", asyncio.Event)
"""Set once the process is going to stop."""


async def serve_liveness(_request: web.Request) -> web.Response:
    """Answer `GET /healthz`: the process runs its loop."""
    return web.json_response({"status": "ok"})


class Readiness:
    """Answers `GET /readyz` by asking everything that serving needs, and what it can do without for a while."""

    def __init__(self, needed: Mapping[str, Ping], helpful: Mapping[str, Ping]) -> None:
        self._needed = needed
        self._helpful = helpful

    async def serve(self, request: web.Request) -> web.Response:
        """Answer 200, also when only what is helpful is away; 503 when something needed is, or when it is to stop."""
        checks = await ask_all({**self._needed, **self._helpful}, within=TIMEOUT_S)
        away = {name for name, state in checks.items() if state != "ok"}
        unavailable = bool(away & self._needed.keys())
        draining = request.app[DRAINING].is_set()
        status = "draining" if draining else "unavailable" if unavailable else "degraded" if away else "ok"
        return web.json_response({"status": status, "checks": checks}, status=503 if unavailable or draining else 200)
