"""Who asks: the access token of a request, checked, and the person it speaks for."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from auth.verifier import Verifier
from domain.errors import TokenRejected
from domain.ids import NodeType, OpaqueIds

_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/=-]+)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, until when (seconds since 1970), in which session, and since when; the anonymous have none of it."""

    user_id: int | None = None
    expires_at: float | None = None
    session: str | None = None
    authenticated_at: float | None = None


ANONYMOUS: Final = Caller()


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """Turns credentials into callers, the same way at every door."""

    verifier: Verifier
    ids: OpaqueIds

    async def of_headers(self, values: Sequence[str]) -> Caller:
        """Give the caller of a request from its `Authorization` headers.

        Raises:
            TokenRejected: there is more than one, or it is not a Bearer token that holds.
        """
        if not values:
            return ANONYMOUS
        if len(values) > 1:
            raise TokenRejected
        return await self._of_credentials(values[0])

    async def of_connection(self, payload: Mapping[str, Any]) -> Caller:
        """Give the caller of a WebSocket from the payload of `connection_init`; raises TokenRejected."""
        credentials = payload.get("authorization")
        if credentials is None:
            return ANONYMOUS
        if not isinstance(credentials, str):
            raise TokenRejected
        return await self._of_credentials(credentials)

    async def _of_credentials(self, credentials: str) -> Caller:
        match = _BEARER.fullmatch(credentials)
        if match is None:
            raise TokenRejected
        claims = await self.verifier.check(match.group(1))
        user_id = self.ids.decode(NodeType.USER, claims.subject)
        if user_id is None:
            raise TokenRejected
        return Caller(user_id, claims.expires_at, claims.session, claims.authenticated_at)
