"""The user service as the auth service sees it: commands that are signed and may be sent any number of times."""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, TypeVar

import aiohttp
import msgspec

from domain import sign_ups as commands
from domain.signed_requests import HEADER, Request

TIMEOUT_S: Final = 12.0
CONNECTIONS: Final = 20
_OK: Final = 200
_PASSING: Final = frozenset({401, 408, 429, 500, 502, 503, 504})
"""What may be otherwise the next time: where the clocks or keys differ (401), an operator mends it."""
C = TypeVar("C", bound=commands.Command)


class NotReached(Exception):
    """The user service has not answered, or not yet; the same may be sent again."""


class NotUnderstood(Exception):
    """The user service will never do this: one of the two services has a defect."""


class UserService:
    """Sends commands."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, key: bytes, clock: Callable[[], float] = time.time
    ) -> None:
        self._session = session
        self._url = url
        self._key = key
        self._clock = clock

    async def create_user(self, attempt: uuid.UUID, command: commands.CreateUser) -> commands.SignedUp:
        """Have the person of a sign-up made, or hear why not; raises NotReached or NotUnderstood, as all others do."""
        return await self._ask("PUT", commands.user_path(attempt), command, commands.SignedUp)

    async def take_back(self, attempt: uuid.UUID) -> bool:
        """Have the person of a sign-up purged; False where nobody was made."""
        return (await self._ask("DELETE", commands.user_path(attempt), None, commands.Done)).known

    async def set_email(self, subject: str, command: commands.SetEmail) -> bool:
        """Tell somebody's address; False where nobody is there any more."""
        return (await self._ask("PUT", commands.email_path(subject), command, commands.Done)).known

    async def revoke(self, command: commands.Revoke) -> bool:
        """Have tokens refused; False where nobody is there any more."""
        return (await self._ask("POST", commands.REVOCATIONS, command, commands.Done)).known

    async def fetch_standings(self, subjects: Sequence[str]) -> list[commands.Standing]:
        """Fetch what has become of people, in the order asked for."""
        command = commands.AskStandings(user_ids=list(subjects))
        return (await self._ask("POST", commands.STANDINGS, command, commands.Standings)).standings

    async def fetch_people(self, after: uuid.UUID | None) -> commands.People:
        """Fetch a page of the people who were made for sign-ups."""
        return await self._ask("POST", commands.PEOPLE, commands.AskPeople(after=after), commands.People)

    async def fetch_name_standing(self, username: str) -> commands.NameStanding:
        """Fetch whether a newcomer could have a name."""
        return await self._ask("POST", commands.NAMES, commands.AskName(username=username), commands.NameStanding)

    async def _ask(self, method: str, path: str, command: commands.Command | None, answer: type[C]) -> C:
        body = msgspec.json.encode(command) if command is not None else b""
        headers = {HEADER: Request(method, path, body).sign(self._key, self._clock())}
        if body:
            headers["Content-Type"] = "application/json"
        try:
            status, content = await self._send(method, path, body, headers)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotReached(type(error).__name__) from error
        if status in _PASSING:
            raise NotReached(str(status))
        if status != _OK:
            raise NotUnderstood(str(status))
        try:
            return msgspec.json.decode(content, type=answer)
        except msgspec.MsgspecError as error:
            raise NotUnderstood("the answer") from error

    async def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        async with self._session.request(method, self._url + path, data=body or None, headers=headers) as response:
            return response.status, await response.content.read(commands.MAX_BYTES)


@contextlib.asynccontextmanager
async def open_user_service(url: str, key: bytes) -> AsyncIterator[UserService]:
    """Open the connections to the user service; they are made as they are needed."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield UserService(session, url, key)
