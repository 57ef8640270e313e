"""The aiohttp application: which path leads where."""

import dataclasses
from typing import Final

from aiohttp import web

from execution.engine import Engine
from resolvers.context import Backend
from transport.access import Access
from transport.bodies import MAX_BODY_BYTES
from transport.graphiql import Explorer
from transport.health import Ping, Readiness, serve_liveness
from transport.http import GraphQLHttp, errors_middleware
from transport.metrics import serve_metrics
from transport.websocket import GraphQLWebSockets

ENDPOINT: Final = "/graphql"


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of."""

    engine: Engine
    backend: Backend
    access: Access
    explorer: Explorer | None
    allowed_origins: tuple[str, ...]
    needed: dict[str, Ping]
    helpful: dict[str, Ping]


def make_app(parts: Parts) -> web.Application:
    """Put the parts behind their paths; on shutdown all sockets are closed with 1001."""
    http = GraphQLHttp(parts.engine, parts.backend, parts.access, parts.explorer)
    sockets = GraphQLWebSockets(parts.engine, parts.backend, parts.access, allowed_origins=parts.allowed_origins)

    async def get(request: web.Request) -> web.StreamResponse:
        is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
        return await sockets.connect(request) if is_socket else await http.get(request)

    async def drain(_app: web.Application) -> None:
        await sockets.drain()

    app = web.Application(middlewares=[errors_middleware], client_max_size=MAX_BODY_BYTES)
    app.router.add_post(ENDPOINT, http.post)
    app.router.add_get(ENDPOINT, get, allow_head=False)
    app.router.add_get("/healthz", serve_liveness)
    app.router.add_get("/readyz", Readiness(parts.needed, parts.helpful).serve)
    app.router.add_get("/metrics", serve_metrics)
    if parts.explorer is not None:
        app.router.add_get(f"{ENDPOINT}/assets/{{name}}", parts.explorer.asset)
    app.on_shutdown.append(drain)
    return app
