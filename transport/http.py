"""GraphQL over HTTP: `POST /graphql`, `GET /graphql` for queries, and the explorer page in development."""

import secrets
from typing import Any, Final

import orjson
from aiohttp import web
from graphql import OperationType

from domain.errors import KithError, Unauthenticated
from execution.engine import GraphQLRequest, Response
from execution.errors import masked
from transport.access import Access
from transport.bodies import BadRequest, read_body, read_query_string
from transport.graphiql import Explorer
from transport.metrics import REFUSALS
from transport.negotiation import GRAPHQL_RESPONSE, negotiate, takes_events, wants_page
from transport.operations import Operations
from transport.patience import HEADER, undone
from transport.problems import PREFIX, problem
from transport.sse import EventStreams

REQUEST_ID: Final = web.RequestKey("request_id", str)
_ALLOWED: Final = "GET, POST"
_NAMES_A_DOCUMENT: Final = frozenset({"query", "documentId", "extensions"})


class GraphQLHttp:
    """Answers GraphQL requests over HTTP."""

    def __init__(
        self, operations: Operations, access: Access, streams: EventStreams, explorer: Explorer | None
    ) -> None:
        self._operations = operations
        self._access = access
        self._streams = streams
        self._explorer = explorer

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /graphql`."""
        return await self._answer(request, await read_body(request))

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /graphql`: the page for a browser, a query for everybody else."""
        if wants_page(request.headers.get("Accept")) and _NAMES_A_DOCUMENT.isdisjoint(request.query):
            if self._explorer is None:
                raise web.HTTPNotFound
            return self._explorer.page()
        return await self._answer(request, read_query_string(request))

    async def _answer(self, request: web.Request, asked: GraphQLRequest) -> web.StreamResponse:
        accept = request.headers.get("Accept")
        media_type, takes_stream = negotiate(accept), takes_events(accept)
        if media_type is None and not takes_stream:
            raise web.HTTPNotAcceptable
        caller = await self._access.of_headers(request.headers.getall("Authorization", []))
        tokens = request.headers.getall("X-Consistency-Token", [])
        prepared = await self._operations.prepare(asked, caller, tokens=tokens)
        kind = None if isinstance(prepared, dict) else prepared.type
        streams = takes_stream and (media_type is None or kind is OperationType.SUBSCRIPTION)
        _check_method(request.method, kind, streams=streams)
        if streams or media_type is None:
            return await self._streams.answer(request, caller, prepared)
        if isinstance(prepared, dict):
            return _answered(prepared, media_type, status=400 if media_type == GRAPHQL_RESPONSE else 200)
        return _answered(await self._operations.run(prepared, request.headers.get(HEADER)), media_type)


def _check_method(method: str, kind: OperationType | None, *, streams: bool) -> None:
    """Refuse what changes something in a GET, and a subscription that nobody could hear."""
    if method == "GET" and (kind is OperationType.MUTATION or (kind is OperationType.SUBSCRIPTION and not streams)):
        raise web.HTTPMethodNotAllowed("GET", ["POST"])
    if kind is OperationType.SUBSCRIPTION and not streams:
        raise BadRequest("Subscriptions need a WebSocket (graphql-transport-ws) or `Accept: text/event-stream`.")


def _answered(response: Response, media_type: str, *, status: int = 200) -> web.Response:
    """Write a response, with the status and headers that tell when nothing could be done for want of capacity."""
    nothing = undone(response)
    if nothing is None:
        return respond(response, media_type, status=status)
    answer = respond(nothing.response, media_type, status=nothing.status)
    answer.headers.update(nothing.headers)
    return answer


def respond(response: Response, media_type: str, *, status: int = 200) -> web.Response:
    """Write a response; nothing that depends on who asks is ever kept by a cache."""
    headers = {"Content-Type": f"{media_type}; charset=utf-8", "Cache-Control": "private, no-store"}
    return web.Response(body=orjson.dumps(response), status=status, headers=headers)


@web.middleware
async def errors_middleware(request: web.Request, handler: Any) -> web.StreamResponse:
    """Give every failure the one form that clients know, with an id that is also in the log."""
    request[REQUEST_ID] = secrets.token_hex(8)
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        response = _http_error(request, error)
    except BadRequest as error:
        response = _error(request, error.status, error)
    except Unauthenticated as error:
        response = _error(request, 401, error)
        response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    except Exception as error:  # noqa: BLE001 - the last line: masked and logged
        response = _document(request, 500, "Internal error.", masked(error))
    if not response.prepared:
        response.headers["Server"] = "kith"
    return response


def _error(request: web.Request, status: int, error: KithError) -> web.Response:
    REFUSALS.labels(error.code).inc()
    response = _document(request, status, str(error), {"code": error.code, **error.extensions})
    if "retryAfter" in error.extensions:
        response.headers["Retry-After"] = str(error.extensions["retryAfter"])
    return response


def _http_error(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    response = _document(request, error.status, error.reason, {"code": "BAD_REQUEST"})
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.allowed_methods)) or _ALLOWED
    return response


def _document(request: web.Request, status: int, message: str, extensions: dict[str, Any]) -> web.Response:
    """Write a failure in the form of the door: GraphQL's, or a problem document."""
    if request.path.startswith(PREFIX):
        extensions = dict(extensions)
        return problem(status, extensions.pop("code"), message, **extensions)
    return respond({"errors": [{"message": message, "extensions": extensions}]}, "application/json", status=status)
