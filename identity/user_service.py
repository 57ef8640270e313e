"""The user service as the auth service sees it: commands that are signed and may be sent any number of times."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from domain import sign_ups as commands
from storage.signed_client import SignedClient, open_signed_client

C = TypeVar("C", bound=commands.Command)


class UserService:
    """Sends commands; each raises NotReached or NotUnderstood where there is no answer to it."""

    def __init__(self, client: SignedClient) -> None:
        self._client = client

    async def create_user(self, attempt: uuid.UUID, command: commands.CreateUser) -> commands.SignedUp:
        """Have the person of a sign-up made, or hear why not."""
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
        return await self._client.ask(method, path, command, answer, most_bytes=commands.MAX_BYTES)


@contextlib.asynccontextmanager
async def open_user_service(url: str, key: bytes) -> AsyncIterator[UserService]:
    """Open the connections to the user service; they are made as they are needed."""
    async with open_signed_client(url, key) as client:
        yield UserService(client)
