"""GraphQL over HTTP: `POST /graphql`, `GET /graphql` for queries, and the explorer page in development."""

from typing import Final

from aiohttp import web
from graphql import OperationType

from execution.engine import GraphQLRequest, Response
from transport.access import Access
from transport.bodies import BadRequest, read_body, read_query_string
from transport.failures import respond
from transport.graphiql import Explorer
from transport.negotiation import GRAPHQL_RESPONSE, accepted, negotiate, takes_events, wants_page
from transport.operations import Operations
from transport.patience import HEADER, undone, wished
from transport.repeats import of_request, read_key
from transport.sse import EventStreams

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
        if wants_page(accepted(request.headers.getall("Accept", ()))) and _NAMES_A_DOCUMENT.isdisjoint(request.query):
            if self._explorer is None:
                raise web.HTTPNotFound
            return self._explorer.page()
        return await self._answer(request, read_query_string(request))

    async def _answer(self, request: web.Request, asked: GraphQLRequest) -> web.StreamResponse:
        accept = accepted(request.headers.getall("Accept", ()))
        media_type, takes_stream = negotiate(accept), takes_events(accept)
        if media_type is None and not takes_stream:
            raise web.HTTPNotAcceptable
        caller = await self._access.of_request(request)
        tokens = request.headers.getall("X-Consistency-Token", [])
        prepared = await self._operations.prepare(asked, caller, tokens=tokens)
        kind = None if isinstance(prepared, dict) else prepared.type
        streams = takes_stream and (media_type is None or kind is OperationType.SUBSCRIPTION)
        _check_method(request.method, kind, streams=streams)
        if streams or media_type is None:
            return await self._streams.answer(request, caller, prepared, asked)
        if isinstance(prepared, dict):
            return _answered(prepared, media_type, status=400 if media_type == GRAPHQL_RESPONSE else 200)
        seconds, named = wished(request.headers.getall(HEADER, ())), read_key(prepared, asked, of_request(request))
        return _answered(await self._operations.run(prepared, seconds, named), media_type)


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
