"""Which sites' pages may use the API from a browser: the server's own, and what the settings list."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from transport.bodies import BadRequest

_METHODS: Final = "GET, POST"
_HEADERS: Final = (
    "Authorization, Content-Type, Accept, X-Consistency-Token, Idempotency-Key, Request-Timeout, "
    "traceparent, tracestate"
)
_EXPOSED: Final = (
    "X-Request-Id, Retry-After, traceparent, "
    "x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-used, x-ratelimit-reset"
)
_REMEMBERED_S: Final = "600"


class ForeignOrigin(BadRequest):
    """Pages of this site may not use the API: the setting KITH_ALLOWED_ORIGINS lists those that may."""

    status = 403


class Origins:
    """Decides by the `Origin` header, which browsers always send along and pages cannot change."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)

    def check(self, request: web.Request) -> None:
        """Let in programs, which send no Origin, the server's own pages, and what the settings list.

        Raises:
            ForeignOrigin: another site's page asks.
        """
        origins = request.headers.getall("Origin", [])
        if not origins:
            return
        host = request.headers.get("Host")
        own = origins[0] in (f"http://{host}", f"https://{host}")
        if len(origins) > 1 or not (own or origins[0] in self._allowed):
            raise ForeignOrigin

    async def preflight(self, request: web.Request) -> web.Response:
        """Answer `OPTIONS` to pages of the sites that are listed, and to nobody else."""
        if not self._is_listed(request.headers.getall("Origin", [])):
            raise web.HTTPMethodNotAllowed("OPTIONS", ["GET", "POST"])
        allowed = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Allow-Headers": _HEADERS}
        return web.Response(status=204, headers={**allowed, "Access-Control-Max-Age": _REMEMBERED_S})

    def marks(self, origins: Sequence[str]) -> dict[str, str]:
        """Give the headers that let a listed site's page read an answer, whatever it is."""
        marks = {"Vary": "Origin"} if self._allowed else {}
        if self._is_listed(origins):
            marks["Access-Control-Allow-Origin"] = origins[0]
            marks["Access-Control-Expose-Headers"] = _EXPOSED
        return marks

    def _is_listed(self, origins: Sequence[str]) -> bool:
        return len(origins) == 1 and origins[0] in self._allowed
