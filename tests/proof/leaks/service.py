"""The real service in this process, over loopback, with every statement it sends to a cell counted."""

import asyncio
import contextlib
import dataclasses
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest import mock

import aiohttp
from aiohttp import web
from joserfc.jwk import ECKey

from auth.jwks import development_key
from auth.token import issue_token
from domain.errors import Overloaded
from embedded import Addresses
from keys import Keys
from resolvers import notifications, presence
from server import open_parts
from settings import Settings, load
from storage.cells import Cell, Connection, Record
from storage.database import Database
from tests.cold import is_watch, make_cold
from transport.app import Parts, make_app

T = TypeVar("T")

ANSWER_WITHIN_S: Final = 60.0
BUSY: Final = (b"OVERLOADED", b"DEADLINE_EXCEEDED")
PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0)
QUIET_S: Final = 1.0
"""How long a stream says nothing before it counts as having said all."""

TOKEN_HEADER: Final = "X-Consistency-Token"
_UNCOMPARED: Final = frozenset(
    {"date", "traceparent", "x-request-id", "x-ratelimit-remaining", "x-ratelimit-used", "x-ratelimit-reset"}
)
"""Of time, of chance, and what was spent before: that both cost the same is tested where budgets are."""
_SEALED: Final = re.compile(rb'"consistencyToken":"([^"]+)"')
"""Two tokens are never equal, whatever they say: only whether there is one, and how long it is, can tell anything."""

_ROWS: Final = """
SELECT (SELECT count(*) FROM outbox) AS outbox, (SELECT count(*) FROM audit_logs) AS audit,
       (SELECT count(*) FROM notifications) AS notifications, (SELECT sum(version) FROM users) AS users,
       (SELECT count(*) FROM relationships) AS pairs, (SELECT sum(version) FROM relationships) AS versions,
       (SELECT count(*) FILTER (WHERE mutes) FROM relationships) AS mutes, (SELECT sum(followers) FROM user_counts) AS f
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """All that a viewer can notice of an answer; `statements` stands for the time it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    statements: tuple[str, ...] = ()

    @property
    def data(self) -> Any:
        """Read the body."""
        return json.loads(self.body)


class Statements:
    """Writes down each statement and each transaction that a cell gets, and when one was last under way."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._under_way = 0
        self._rests_since = 0.0

    @property
    def rest_s(self) -> float:
        """Tell for how long no statement has been under way, in seconds."""
        return 0.0 if self._under_way else time.monotonic() - self._rests_since

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._rests_since = time.monotonic()

    def take(self) -> tuple[str, ...]:
        """Give what was seen since the last call."""
        seen, self._seen = tuple(sorted(self._seen)), []
        return seen

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count until the context closes."""
        fetch, attempt = Cell._fetch, Cell._attempt

        async def counting(cell: Cell, statement: str, arguments: Sequence[object]) -> list[Record]:
            if is_watch(statement):
                return await fetch(cell, statement, arguments)
            self._seen.append(" ".join(statement.split()))
            with self._working():
                return await fetch(cell, statement, arguments)

        async def transacting(cell: Cell, work: Callable[[Connection], Awaitable[Any]], scope: asyncio.Timeout) -> Any:
            self._seen.append("BEGIN")
            with self._working():
                return await attempt(cell, work, scope)

        with mock.patch.object(Cell, "_fetch", counting), mock.patch.object(Cell, "_attempt", transacting):
            yield


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """The running service and what is behind it."""

    parts: Parts
    settings: Settings
    addresses: Addresses
    origin: str
    session: aiohttp.ClientSession
    key: ECKey
    statements: Statements

    @property
    def database(self) -> Database:
        """Give the cells."""
        return self.parts.backend.database

    async def rows(self) -> list[tuple[object, ...]]:
        """Sum up what is written in each cell: equal sums mean that nothing was written."""
        return [tuple(await cell.loans.pool.fetchrow(_ROWS) or ()) for cell in self.database.shards.cells]

    def asker(self, opaque_id: str | None) -> "Asker":
        """Give somebody who asks; None is the anonymous."""
        token = issue_token(self.key, self.settings, opaque_id) if opaque_id is not None else None
        return Asker(self, token)


@dataclasses.dataclass(frozen=True, slots=True)
class Asker:
    """A viewer at the other end of the line."""

    service: Service
    token: str | None

    @property
    def headers(self) -> dict[str, str]:
        """Give the headers that say who asks."""
        return {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}

    async def post(self, document: str, variables: Mapping[str, object] | None = None) -> Answer:
        """Ask over `POST /graphql`."""
        body = {"query": document} if variables is None else {"query": document, "variables": variables}
        return await self.send("POST", "/graphql", json=body)

    async def get(self, document: str) -> Answer:
        """Ask over `GET /graphql`."""
        return await self.send("GET", "/graphql", params={"query": document})

    async def send(self, method: str, path: str, **details: Any) -> Answer:
        """Send any request, and again where the service is busy, which a busy machine makes it."""
        details["headers"] = {**self.headers, **details.get("headers", {})}
        answer = await self._send_once(method, path, details)
        for pause in PAUSES_S:
            if not any(code in answer.body for code in BUSY):
                break
            await asyncio.sleep(pause)
            answer = await self._send_once(method, path, details)
        return answer

    async def _send_once(self, method: str, path: str, details: Mapping[str, Any]) -> Answer:
        await make_cold(self.service.parts.backend.caches)
        self.service.statements.take()
        async with self.service.session.request(method, self.service.origin + path, **details) as response:
            body = await response.read()
        kept = {name: value for name, value in response.headers.items() if name.lower() not in _UNCOMPARED}
        if TOKEN_HEADER in kept:
            kept[TOKEN_HEADER] = f"{len(kept[TOKEN_HEADER])} characters"
        return Answer(response.status, kept, _without_tokens(body), self.service.statements.take())

    async def listen(self, document: str, *, patience_s: float = ANSWER_WITHIN_S) -> Answer:
        """Ask over a WebSocket until the operation completes or falls quiet; `patience_s` is for its first word."""
        answer = await self._listen_once(document, patience_s)
        for pause in PAUSES_S:
            if not any(code in answer.body for code in BUSY):
                break
            await asyncio.sleep(pause)
            answer = await self._listen_once(document, patience_s)
        return answer

    async def _listen_once(self, document: str, patience_s: float) -> Answer:
        await make_cold(self.service.parts.backend.caches)
        self.service.statements.take()
        frames: list[str] = []
        url = self.service.origin + "/graphql"
        async with self.service.session.ws_connect(url, protocols=("graphql-transport-ws",)) as socket:
            payload = {"authorization": f"Bearer {self.token}"} if self.token is not None else {}
            await socket.send_json({"type": "connection_init", "payload": payload})
            await socket.receive_str(timeout=ANSWER_WITHIN_S)
            await socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": document}})
            with contextlib.suppress(TimeoutError):
                while not frames or json.loads(frames[-1])["type"] not in ("complete", "error"):
                    frames.append(await self._next(socket, patience_s if not frames else QUIET_S))
        return Answer(0, {}, "\n".join(frames).encode(), self.service.statements.take())

    async def _next(self, socket: aiohttp.ClientWebSocketResponse, patience_s: float) -> str:
        """Read the next frame; raises TimeoutError after that long, once the service has come to rest as well."""
        reading = asyncio.ensure_future(socket.receive_str())
        try:
            await asyncio.wait([reading], timeout=patience_s)
            async with asyncio.timeout(ANSWER_WITHIN_S):
                while not reading.done() and self.service.statements.rest_s < QUIET_S:
                    await asyncio.wait([reading], timeout=QUIET_S / 4)
            if not reading.done():
                raise TimeoutError
            return reading.result()
        finally:
            reading.cancel()


@contextlib.asynccontextmanager
async def open_service(addresses: Addresses, folder: Path, key: bytes) -> AsyncIterator[Service]:
    """Run the service on the given parts, with one key for all purposes."""
    settings = load(
        {
            "KITH_DATA_DIR": str(folder),
            "KITH_POSTGRES_DSNS": ",".join(addresses.postgres_dsns),
            "KITH_REDIS_URL": addresses.redis_url,
            "KITH_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
        }
    )
    statements = Statements()
    async with contextlib.AsyncExitStack() as stack:
        # A stream that finds a cell busy pauses for less than what counts as silence.
        stack.enter_context(mock.patch.object(notifications, "PAUSE_S", (0.05, 0.1)))
        # Whether a statement of the watch falls between two others is a matter of time, not of who is hidden.
        with (
            mock.patch.object(presence, "LOOK_EVERY_S", 3600.0),
            mock.patch("server.load_keys", return_value=Keys(*[key] * len(dataclasses.fields(Keys)))),
        ):
            parts = await stack.enter_async_context(open_parts(settings))
        runner = web.AppRunner(make_app(parts), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        stack.enter_context(statements.counted())
        host, port = runner.addresses[0][:2]
        origin = f"http://{host}:{port}"
        yield Service(parts, settings, addresses, origin, session, development_key(settings), statements)


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Do something to the cells, and again where they are busy."""
    for pause in PAUSES_S:
        with contextlib.suppress(Overloaded):
            return await work()
        await asyncio.sleep(pause)
    return await work()


def _without_tokens(body: bytes) -> bytes:
    return _SEALED.sub(lambda found: b'"consistencyToken":"%d characters"' % len(found[1]), body)
