"""The aiohttp application: the registered routes, the headers of every answer, and what is told when one fails."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Final

from aiohttp import web

from identity.database import Unavailable
from identity.metrics import ANSWERS, serve_metrics
from identity.parts import Parts
from identity.registry import ROUTES, TASKS
from transport.answers import Form
from transport.health import DRAINING, Readiness, serve_liveness

MAX_BODY_BYTES: Final = 64 * 1024
SERVER: Final = "kith"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every answer says, unless a handler says something else under the same name."""
_FOR_HTTPS: Final = {"Strict-Transport-Security": "max-age=31536000"}
_CLOSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
"""What leaves something unread on the connection."""
_LOG: Final = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(parts: Parts) -> web.Application:
    """Put the parts behind their paths."""

    async def tasks(_app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for task in TASKS:
                await stack.enter_async_context(task(parts))
            yield

    app = web.Application(
        middlewares=[errors_middleware], client_max_size=MAX_BODY_BYTES, handler_args={"auto_decompress": False}
    )
    app[DRAINING] = asyncio.Event()
    app.router.add_get("/healthz", serve_liveness)
    app.router.add_get("/readyz", Readiness({"database": parts.database.ping}, {"redis": parts.credentials.ping}).serve)
    app.router.add_get("/metrics", serve_metrics)
    for routes in ROUTES:
        app.router.add_routes(routes(parts))
    app.on_response_prepare.append(add_headers(parts.url))
    app.cleanup_ctx.append(tasks)
    return app


def add_headers(url: str) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Make what gives every answer of a service at this address its headers, and counts it."""
    headers = HEADERS | (_FOR_HTTPS if url.startswith("https:") else {})

    async def mark(_request: web.Request, response: web.StreamResponse) -> None:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = SERVER
        ANSWERS.labels(f"{response.status // 100}xx").inc()

    return mark


@web.middleware
async def errors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell of a failure in the form of OAuth's errors (RFC 6749, 5.2), and nothing of what it was."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        response = _failure(error.status, "invalid_request", error.headers)
        if error.status in _CLOSING:
            response.force_close()
        return response
    except Unavailable:
        return _failure(503, "temporarily_unavailable", {"Retry-After": "1"})
    except Exception as error:  # noqa: BLE001 - whatever it was, it is logged, and nobody is told
        return _broken(error)


def _broken(error: BaseException) -> web.Response:
    _LOG.error("a request failed", exc_info=error)
    return _failure(500, "server_error")


def _failure(status: int, error: str, headers: Mapping[str, str] | None = None) -> web.Response:
    kept = {name: value for name, value in (headers or {}).items() if name in ("Allow", "Retry-After")}
    return web.json_response({"error": error}, status=status, headers=kept)


def _turned_away(status: int, _message: str) -> tuple[dict[str, str], bytes]:
    return _LAST, json.dumps({"error": _ERRORS.get(status, "invalid_request")}).encode()


_ERRORS: Final = {500: "server_error", 503: "temporarily_unavailable"}
_LAST: Final = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store", "Server": SERVER}
FORM: Final = Form(tell=_turned_away, broken=_broken)
"""What is turned away before it is a request, told as all else."""
