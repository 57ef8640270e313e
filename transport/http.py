"""GraphQL over HTTP: `POST /graphql`, `GET /graphql` for queries, and the explorer page in development."""

from collections.abc import Coroutine, Mapping
from typing import Any, ClassVar, Final

from aiohttp import web
from graphql import OperationType

from execution.engine import GraphQLRequest, Operation, Response
from transport.access import Access
from transport.answers import Answer, lines_of
from transport.bodies import BadRequest, read_body, read_query_string
from transport.failures import answer_of
from transport.graphiql import Explorer
from transport.heads import Head, read_head
from transport.known_heads import KnownHeads
from transport.negotiation import GRAPHQL_RESPONSE, JSON, accepted, wants_page
from transport.operations import Operations
from transport.patience import undone, wished
from transport.repeats import read_key
from transport.sse import EventStreams

_NAMES_A_DOCUMENT: Final = frozenset({"query", "documentId", "extensions"})
_CHANGING: Final = (OperationType.MUTATION,)
_NOT_BY_GET: Final = (OperationType.MUTATION, OperationType.SUBSCRIPTION)
"""What no GET may ask for where it is not answered with events."""


_UNHEARD: Final = "Subscriptions need a WebSocket (graphql-transport-ws) or `Accept: text/event-stream`."


class NotAcceptable(BadRequest):
    """Accept `application/graphql-response+json`, `application/json` or, for a stream, `text/event-stream`."""

    status = 406


class ChangesByGet(BadRequest):
    """Send mutations by POST, and subscriptions with `Accept: text/event-stream`."""

    status = 405
    headers: ClassVar[Mapping[str, str]] = {"Allow": "POST"}


class GraphQLHttp:
    """Answers GraphQL requests over HTTP."""

    def __init__(
        self,
        operations: Operations,
        access: Access,
        streams: EventStreams,
        explorer: Explorer | None,
        heads: KnownHeads,
    ) -> None:
        self._operations = operations
        self._heads = heads
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

    def answer(self, head: Head, prepared: Operation | Response, asked: GraphQLRequest) -> Coroutine[Any, Any, Answer]:
        """Answer a request with one answer; raises what it fails by, as a subscription does that nobody could hear."""
        if not isinstance(prepared, dict) and prepared.type is OperationType.SUBSCRIPTION:
            raise BadRequest(_UNHEARD)
        return self._run(prepared, asked, head)

    async def _answer(self, request: web.Request, asked: GraphQLRequest) -> web.StreamResponse:
        head = read_head(request)
        if head.media_type is None and not head.takes_events:
            raise NotAcceptable
        caller = await self._access.of_request(request)
        prepared = await self._operations.prepare(asked, caller, tokens=head.tokens)
        kind = None if isinstance(prepared, dict) else prepared.type
        streams = head.takes_events and (head.media_type is None or kind is OperationType.SUBSCRIPTION)
        if request.method == "GET" and kind in (_CHANGING if streams else _NOT_BY_GET):
            raise ChangesByGet
        if streams:
            return await self._streams.answer(request, caller, prepared, asked)
        self._heads.learn(request, head, caller.sender)
        return (await self.answer(head, prepared, asked)).response()

    async def _run(self, prepared: Operation | Response, asked: GraphQLRequest, head: Head) -> Answer:
        media_type = head.media_type or JSON
        if isinstance(prepared, dict):
            return _answered(prepared, media_type, status=400 if media_type == GRAPHQL_RESPONSE else 200)
        seconds = wished(head.timeouts) if head.timeouts else None
        named = read_key(prepared, asked, head.keys) if prepared.type is OperationType.MUTATION else None
        return _answered(await self._operations.run(prepared, seconds, named), media_type)


def _answered(response: Response, media_type: str, *, status: int = 200) -> Answer:
    """Write a response, with the status and headers that tell when nothing could be done for want of capacity."""
    nothing = undone(response) if "errors" in response else None
    if nothing is None:
        return answer_of(response, media_type, status=status)
    answer = answer_of(nothing.response, media_type, status=nothing.status)
    answer.fields += lines_of(nothing.headers)
    return answer
