"""The aiohttp application: which path leads where."""

import asyncio
import dataclasses
from typing import Final

from aiohttp import web

from domain.probes import Ping
from execution.engine import Engine
from execution.persisted import PersistedDocuments
from resolvers.context import Backend
from resolvers.presence import Presence
from transport import exports
from transport.access import CALLER, Access
from transport.admission import ADMISSION, Admission
from transport.answers import fields_of
from transport.bodies import MAX_BODY_BYTES
from transport.debug import DebugMemory, Describe
from transport.failures import errors_middleware, mark
from transport.graphiql import Explorer
from transport.health import DRAINING, Readiness, serve_liveness
from transport.http import GraphQLHttp
from transport.known_heads import KnownHeads
from transport.lines import Caps, Lines
from transport.metrics import published, serve_metrics
from transport.operations import Operations
from transport.origins import Origins
from transport.patience import Patience
from transport.privacy_control import PATH as PRIVACY_CONTROL
from transport.privacy_control import serve_privacy_control
from transport.rest import Rest
from transport.short_way import ShortWay
from transport.sse import EventStreams
from transport.websocket import GraphQLWebSockets

ENDPOINT: Final = "/graphql"
SHORT_WAY: Final = web.AppKey("short_way", ShortWay)
DRAIN_S: Final = 8.0


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What the application is made of."""

    engine: Engine
    persisted: PersistedDocuments
    backend: Backend
    presence: Presence
    access: Access
    caps: Caps
    explorer: Explorer | None
    allowed_origins: tuple[str, ...]
    needed: dict[str, Ping]
    helpful: dict[str, Ping]
    patience: Patience
    memory: Describe | None = None
    """What `/debug/memory` tells; None where it is not to be had, as in production."""


def make_app(parts: Parts) -> web.Application:
    """Put the parts behind their paths; on shutdown all sockets and streams are asked to come back elsewhere."""
    admission = Admission(ENDPOINT)
    operations = Operations(parts.engine, parts.backend, parts.persisted, parts.patience, admission)
    lines, origins = Lines(parts.presence, parts.caps), Origins(parts.allowed_origins)
    heads = KnownHeads()
    http = GraphQLHttp(operations, parts.access, EventStreams(operations, lines, origins), parts.explorer, heads)
    sockets = GraphQLWebSockets(operations, parts.access, lines, origins)

    async def get(request: web.Request) -> web.StreamResponse:
        is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
        return await sockets.connect(request) if is_socket else await http.get(request)

    async def drain(_app: web.Application) -> None:
        await lines.drain(DRAIN_S)

    async def tell_budget(request: web.Request, response: web.StreamResponse) -> None:
        if CALLER in request:
            response.headers.update(fields_of(operations.budget_lines(request[CALLER])))

    async def open_to_origins(request: web.Request, response: web.StreamResponse) -> None:
        if request.path == ENDPOINT:
            response.headers.update(origins.marks(request.headers.getall("Origin", ())))

    app = web.Application(
        middlewares=[errors_middleware, admission.refusing],
        client_max_size=MAX_BODY_BYTES,
        handler_args={"auto_decompress": False},
    )
    app[DRAINING] = asyncio.Event()
    app[ADMISSION] = admission
    app[SHORT_WAY] = ShortWay(ENDPOINT, http, operations, origins, heads, access=parts.access)
    app.router.add_post(ENDPOINT, http.post)
    app.router.add_get(ENDPOINT, get, allow_head=False)
    if parts.allowed_origins:
        app.router.add_options(ENDPOINT, origins.preflight)
    Rest(operations, parts.access).add_to(app.router)
    app.router.add_get(exports.PATH, exports.Exports(parts.backend).serve, allow_head=False)
    app.router.add_get(PRIVACY_CONTROL, serve_privacy_control, allow_head=False)
    app.router.add_get("/healthz", serve_liveness)
    app.router.add_get("/readyz", Readiness(parts.needed, parts.helpful).serve)
    app.router.add_get("/metrics", serve_metrics)
    if parts.memory is not None:
        app.router.add_get("/debug/memory", DebugMemory(parts.memory).serve)
    if parts.explorer is not None:
        app.router.add_get(f"{ENDPOINT}/assets/{{name}}", parts.explorer.asset)
    app.on_response_prepare.extend((mark, tell_budget, open_to_origins))
    app.cleanup_ctx.extend((admission.watched, published))
    app.on_shutdown.append(drain)
    return app
