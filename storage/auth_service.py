"""The auth service as the user service sees it: who is asked what is held about a person beyond our own tables."""

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeVar

import msgspec

from domain import holdings
from domain.errors import Overloaded
from storage.failures import RETRY_AFTER_S
from storage.signed_client import Failed, NotReached, SignedClient, open_signed_client

_LOG: Final = logging.getLogger(__name__)
H = TypeVar("H", bound=msgspec.Struct)


class AuthService:
    """Whoever holds the accounts; without a client that is another provider, which only the person can ask.

    While it does not answer, everything raises Overloaded; what it fails at is one person's alone, and raises Failed.
    """

    def __init__(self, issuer: str, client: SignedClient | None = None) -> None:
        self.issuer = issuer
        self._client = client

    async def fetch_account(self, user_id: str) -> holdings.Account | None:
        """Fetch the account of a person, by the id that clients know."""
        held = await self._ask(holdings.ACCOUNT, user_id, None, holdings.AccountHeld)
        return held.account if held is not None else None

    async def read_sign_ins(self, user_id: str) -> AsyncIterator[Sequence[holdings.SignIn]]:
        """Read a person's sign-ins, in pages."""
        last: object = None
        while (page := await self._ask(holdings.SIGN_INS, user_id, last, holdings.SignInsHeld)) and page.entries:
            yield page.entries
            last = page.last

    async def read_applications(self, user_id: str) -> AsyncIterator[Sequence[holdings.Application]]:
        """Read what a person has signed in to, in pages."""
        last: object = None
        while (page := await self._ask(holdings.APPLICATIONS, user_id, last, holdings.ApplicationsHeld)) and (
            page.entries
        ):
            yield page.entries
            last = page.last

    async def read_actions(self, user_id: str) -> AsyncIterator[Sequence[holdings.AccountAction]]:
        """Read what was done to a person's account, in pages."""
        last: object = None
        while (page := await self._ask(holdings.ACTIONS, user_id, last, holdings.ActionsHeld)) and page.entries:
            yield page.entries
            last = page.last

    async def _ask(self, path: str, user_id: str, last: object, answer: type[H]) -> H | None:
        if self._client is None:
            return None
        asked = holdings.AskHoldings(user_id=user_id, after=str(last) if last is not None else None)
        try:
            return await self._client.ask("POST", path, asked, answer, most_bytes=holdings.MAX_BYTES)
        except Failed:
            raise
        except NotReached as error:
            _LOG.warning("the auth service is not reached: %s", error)
            raise Overloaded(retryAfter=RETRY_AFTER_S) from error


@contextlib.asynccontextmanager
async def open_auth_service(issuer: str, url: str | None, key: bytes) -> AsyncIterator[AuthService]:
    """Open the way to the auth service, where it is ours."""
    if url is None:
        yield AuthService(issuer)
        return
    async with open_signed_client(url, key) as client:
        yield AuthService(issuer, client)
