"""Is the process alive, and can it serve? Both answer within a bound, whatever hangs below."""

from typing import Final

from aiohttp import web

from domain.probes import Ping, ask_all

TIMEOUT_S: Final = 2.0


async def serve_liveness(_request: web.Request) -> web.Response:
    """Answer `GET /healthz`: the process runs its loop."""
    return web.json_response({"status": "ok"})


class Readiness:
    """Answers `GET /readyz` by asking everything that serving needs."""

    def __init__(self, needed: dict[str, Ping]) -> None:
        self._needed = needed

    async def serve(self, _request: web.Request) -> web.Response:
        """Answer 200, or 503 where something needed is away."""
        checks = await ask_all(self._needed, within=TIMEOUT_S)
        well = all(state == "ok" for state in checks.values())
        return web.json_response(
            {"status": "ok" if well else "unavailable", "checks": checks}, status=200 if well else 503
        )
