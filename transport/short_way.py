"""The short way of a request whose head is known: from the bytes that came to the bytes that are sent.

Whatever is not as usual goes the long way, through aiohttp's application, which also tells what is wrong with it.
"""

import functools
from collections.abc import Sequence

from domain import traces
from execution.engine import GraphQLRequest, Operation
from transport.access import Access, Caller
from transport.answers import Answer, lines_of
from transport.bodies import BadRequest, decode_object, request_of
from transport.connection import Answering, Connection
from transport.failures import failure_of, identity
from transport.http import GraphQLHttp
from transport.known_heads import KnownHeads, Met
from transport.operations import READY, Operations
from transport.origins import Origins
from transport.pieces import read_plain


class ShortWay:
    """Answers what is posted to a path with a head that is known."""

    def __init__(
        self,
        path: str,
        http: GraphQLHttp,
        operations: Operations,
        origins: Origins,
        heads: KnownHeads,
        *,
        access: Access,
    ) -> None:
        self._begins = f"POST {path} HTTP/1.1\r\n".encode()
        self._http = http
        self._operations = operations
        self._origins = origins
        self._heads = heads
        self._access = access

    def take(self, data: bytes, connection: Connection) -> Answering | None:
        """Give what will answer a request; None for one that has to be parsed, whose head may then be learnt."""
        connection.plain = None
        if not data.startswith(self._begins):
            return None
        met = self._heads.recall(data, connection.network) or self._find(data, connection)
        if met is None:
            return None
        try:
            asked = request_of(decode_object(data[met.body_at :]))
        except BadRequest:
            connection.plain = read_plain(data, connection.network)
            return None
        return functools.partial(self._answer, met, data, asked)

    def _find(self, data: bytes, connection: Connection) -> Met | None:
        plain = connection.plain = read_plain(data, connection.network)
        known = self._heads.find(plain) if plain is not None else None
        if plain is None or known is None:
            return None
        token = self._access.token_of(plain.authorizations)
        if token is None:
            return None
        marks = lines_of(self._origins.marks(known.head.origins))
        met = Met(known, plain.body_at, len(data), plain.parents, token, marks)
        self._heads.meet(data, connection.network, met)
        return met

    async def _answer(self, met: Met, data: bytes, asked: GraphQLRequest) -> Answer:
        trace = traces.continued(met.parents)
        traces.begin(trace)
        caller, charge = None, None
        try:
            sender = met.known.sender
            caller = self._access.recall(met.token, sender) if met.token else Caller(sender=sender)
            if caller is None:
                caller = await self._access.of_headers(_authorizations(data), sender)
            prepared = self._operations.begin_to_prepare(asked, caller)
            if not isinstance(prepared, READY):
                prepared = await prepared
            if isinstance(prepared, Operation):
                charge = prepared.context.app.charge
            answer = await self._http.answer(met.known.head, prepared, asked)
        except Exception as error:  # noqa: BLE001 - the last line: what is unexpected is masked and logged
            answer = failure_of(error).answer()
        budget = self._operations.budget_lines(caller, charge) if caller is not None else ""
        answer.marks = f"{identity(trace)}{budget}{met.marks}"
        return answer


def _authorizations(data: bytes) -> Sequence[str]:
    plain = read_plain(data, "")
    return plain.authorizations if plain is not None else ()
