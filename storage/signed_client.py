"""Asking the other one of our two services: what is asked is signed (`domain.signed_requests`) and may be repeated."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

import aiohttp
import msgspec

from domain.signed_requests import HEADER, Request

TIMEOUT_S: Final = 12.0
CONNECTIONS: Final = 20
_OK: Final = 200
_FAILED: Final = 500
_PASSING: Final = frozenset({401, 408, 429, _FAILED, 502, 503, 504})
"""What may be otherwise the next time: where the clocks or keys differ (401), an operator mends it."""
A = TypeVar("A", bound=msgspec.Struct)


class NotReached(Exception):
    """The other service has not answered, or not yet; the same may be sent again."""


class Failed(NotReached):
    """The other service failed at this very question."""


class NotUnderstood(Exception):
    """The other service will never do this: one of the two has a defect."""


class SignedClient:
    """Sends what is asked, and reads the answers."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, key: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self._session = session
        self._url = url
        self._key = key
        self._clock = clock

    async def ask(
        self, method: str, path: str, question: msgspec.Struct | None, answer: type[A], *, most_bytes: int
    ) -> A:
        """Give the answer; raises NotReached or NotUnderstood."""
        body = msgspec.json.encode(question) if question is not None else b""
        headers = {HEADER: Request(method, path, body).sign(self._key, self._clock())}
        if body:
            headers["Content-Type"] = "application/json"
        try:
            status, content = await self._send(method, path, body, headers, most_bytes)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotReached(type(error).__name__) from error
        if status in _PASSING:
            raise (Failed if status == _FAILED else NotReached)(str(status))
        if status != _OK:
            raise NotUnderstood(str(status))
        try:
            return msgspec.json.decode(content, type=answer)
        except msgspec.MsgspecError:
            # What it says may be personal, and is left out with it.
            raise NotUnderstood("the answer") from None

    async def _send(
        self, method: str, path: str, body: bytes, headers: dict[str, str], most_bytes: int
    ) -> tuple[int, bytes]:
        async with self._session.request(method, self._url + path, data=body or None, headers=headers) as response:
            if (response.content_length or 0) > most_bytes:
                raise NotUnderstood("the length of the answer")
            return response.status, await response.read()


@contextlib.asynccontextmanager
async def open_signed_client(url: str, key: bytes) -> AsyncIterator[SignedClient]:
    """Open the connections to the other service; they are made as they are needed."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield SignedClient(session, url, key)
