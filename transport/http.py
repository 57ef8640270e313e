"""GraphQL over HTTP: `POST /graphql`, `GET /graphql` for queries, and the explorer page in development."""

import secrets
import time
from typing import Any, Final

import orjson
from aiohttp import web
from graphql import OperationType

from domain.errors import KithError, Unauthenticated
from execution.engine import Engine, GraphQLRequest, Operation, Response
from execution.errors import masked
from resolvers.context import Backend, new_context
from schema.fields import OperationContext
from transport.access import Access, Caller
from transport.bodies import BadRequest, read_body, read_query_string
from transport.graphiql import Explorer
from transport.metrics import OPERATIONS, REFUSALS
from transport.negotiation import GRAPHQL_RESPONSE, negotiate, wants_page

REQUEST_ID: Final = web.RequestKey("request_id", str)
_ALLOWED: Final = "GET, POST"


class GraphQLHttp:
    """Answers GraphQL requests over HTTP."""

    def __init__(self, engine: Engine, backend: Backend, access: Access, explorer: Explorer | None) -> None:
        self._engine = engine
        self._backend = backend
        self._access = access
        self._explorer = explorer

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /graphql`."""
        return await self._answer(request, await read_body(request))

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /graphql`: the page for a browser, a query for everybody else."""
        if wants_page(request.headers.get("Accept")) and "query" not in request.query:
            if self._explorer is None:
                raise web.HTTPNotFound
            return self._explorer.page()
        return await self._answer(request, read_query_string(request))

    async def _answer(self, request: web.Request, asked: GraphQLRequest) -> web.Response:
        media_type = negotiate(request.headers.get("Accept"))
        if media_type is None:
            raise web.HTTPNotAcceptable
        started = time.perf_counter()
        caller = self._access.of_headers(request.headers.getall("Authorization", []))
        prepared = self._prepare(asked, caller)
        if isinstance(prepared, dict):
            return _refused(prepared, media_type)
        if request.method == "GET" and prepared.type is not OperationType.QUERY:
            raise web.HTTPMethodNotAllowed("GET", ["POST"])
        if prepared.type is OperationType.SUBSCRIPTION:
            raise BadRequest("Subscriptions need a WebSocket (graphql-transport-ws).")
        response = await prepared.run()
        _observe(prepared, response, started)
        return respond(response, media_type)

    def _prepare(self, asked: GraphQLRequest, caller: Caller) -> Operation | Response:
        context = OperationContext(new_context(self._backend, caller.user_id))
        return self._engine.prepare(asked, context)


def _refused(response: Response, media_type: str) -> web.Response:
    REFUSALS.labels(response["errors"][0]["extensions"]["code"]).inc()
    return respond(response, media_type, status=400 if media_type == GRAPHQL_RESPONSE else 200)


def respond(response: Response, media_type: str, *, status: int = 200) -> web.Response:
    """Write a response; nothing that depends on who asks is ever kept by a cache."""
    headers = {"Content-Type": f"{media_type}; charset=utf-8", "Cache-Control": "private, no-store"}
    return web.Response(body=orjson.dumps(response), status=status, headers=headers)


def _observe(operation: Operation, response: Response, started: float) -> None:
    outcome = "errors" if "errors" in response else "ok"
    OPERATIONS.labels(operation.type.value, outcome).observe(time.perf_counter() - started)


@web.middleware
async def errors_middleware(request: web.Request, handler: Any) -> web.StreamResponse:
    """Give every failure the one form that clients know, with an id that is also in the log."""
    request[REQUEST_ID] = secrets.token_hex(8)
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        response = _http_error(error)
    except BadRequest as error:
        response = _error(error.status, error)
    except Unauthenticated as error:
        response = _error(401, error)
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    except Exception as error:  # noqa: BLE001 - the last line: masked and logged
        response = _document(500, "Internal error.", masked(error))
    if not response.prepared:
        response.headers["X-Request-Id"] = request[REQUEST_ID]
        response.headers["Server"] = "kith"
    return response


def _error(status: int, error: KithError) -> web.Response:
    REFUSALS.labels(error.code).inc()
    return _document(status, str(error), {"code": error.code, **error.extensions})


def _http_error(error: web.HTTPException) -> web.StreamResponse:
    response = _document(error.status, error.reason, {"code": "BAD_REQUEST"})
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods)) or _ALLOWED
    return response


def _document(status: int, message: str, extensions: dict[str, Any]) -> web.Response:
    return respond({"errors": [{"message": message, "extensions": extensions}]}, "application/json", status=status)
