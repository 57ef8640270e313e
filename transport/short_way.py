"""The short way of a request whose head is known: from the bytes that came to the bytes that are sent.

Whatever is not as usual goes the long way, through aiohttp's application, which also tells what is wrong with it.
"""

import functools

from domain import traces
from execution.engine import GraphQLRequest
from transport.admission import Admission
from transport.answers import Answer
from transport.bodies import BadRequest, decode_object, request_of
from transport.connection import Answering, Connection
from transport.failures import failure_of, identity
from transport.http import GraphQLHttp
from transport.known_heads import Known, KnownHeads
from transport.operations import Operations
from transport.origins import Origins
from transport.pieces import Plain, read_plain


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
        admission: Admission,
    ) -> None:
        self._begins = f"POST {path} HTTP/1.1\r\n".encode()
        self._http = http
        self._operations = operations
        self._origins = origins
        self._heads = heads
        self._admission = admission

    def take(self, data: bytes, connection: Connection) -> Answering | None:
        """Give what will answer a request; None for one that has to be parsed, whose head may then be learnt."""
        plain = read_plain(data, connection.network) if data.startswith(self._begins) else None
        connection.plain = plain
        known = self._heads.find(plain) if plain is not None else None
        if plain is None or known is None:
            return None
        try:
            asked = request_of(decode_object(data[plain.body_at :]))
        except BadRequest:
            return None
        self._admission.expect()
        return functools.partial(self._answer, known, plain, asked)

    async def _answer(self, known: Known, plain: Plain, asked: GraphQLRequest) -> Answer:
        turns = self._admission.turns
        if not turns.has_room():
            await turns.room()
        self._admission.meet()
        trace = traces.continued(plain.parents)
        caller = None
        with traces.within(trace):
            try:
                caller = await self._http.caller_of(plain.authorizations, known.sender)
                answer = await self._http.answer(known.head, caller, asked)
            except Exception as error:  # noqa: BLE001 - the last line: what is unexpected is masked and logged
                answer = failure_of(error).answer()
        answer.marks = {
            **identity(trace),
            **(self._operations.budget_headers(caller) if caller is not None else {}),
            **self._origins.marks(known.head.origins),
        }
        return answer
