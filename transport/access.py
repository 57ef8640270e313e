"""Who asks: the access token of a request, checked, and the person it speaks for."""

import collections
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from auth.verifier import MAX_REMEMBERED, Verifier, digest_of
from domain.errors import TokenRejected
from domain.ids import NodeType, OpaqueIds
from domain.revocations import Credentials
from resolvers.revocations import Revocations
from transport.addresses import NOWHERE, Sender, sender_of

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/=-]+)")
"""Without the flag that ignores case, which makes each letter of the token cost five times as much."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks, by what the token says, and until when (seconds since 1970); the anonymous have none of it."""

    credentials: Credentials | None = None
    expires_at: float | None = None
    sender: Sender = NOWHERE
    token: bytes = b""
    """The digest under which the token is remembered."""

    @property
    def user_id(self) -> int | None:
        """Give the person's id."""
        return self.credentials.user_id if self.credentials is not None else None


ANONYMOUS: Final = Caller()
CALLER: Final = web.RequestKey("caller", Caller)
"""Who asks, kept with the request for whoever writes the answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """Turns credentials into callers, the same way at every door."""

    verifier: Verifier
    ids: OpaqueIds
    revocations: Revocations
    proxies: int = 0
    """How many proxies in front of us add to `X-Forwarded-For`; what else stands there anybody can write."""
    _met: collections.OrderedDict[bytes, Caller] = dataclasses.field(default_factory=collections.OrderedDict)
    """Whom tokens spoke for, by their digests."""

    async def of_request(self, request: web.Request) -> Caller:
        """Give the caller of a request from its `Authorization` headers; raises TokenRejected."""
        sender = sender_of(request, self.proxies)
        caller = await self.of_headers(request.headers.getall("Authorization", []), sender)
        request[CALLER] = caller
        return caller

    async def of_headers(self, values: Sequence[str], sender: Sender = NOWHERE) -> Caller:
        """Give the caller of a request from its `Authorization` headers.

        Raises:
            TokenRejected: there is more than one, or it is not a Bearer token that holds.
        """
        if not values:
            return Caller(sender=sender)
        if len(values) > 1:
            raise TokenRejected
        return await self._of_authorization(values[0], sender)

    async def of_connection(self, payload: Mapping[str, Any], sender: Sender = NOWHERE) -> Caller:
        """Give the caller of a WebSocket from the payload of `connection_init`; raises TokenRejected."""
        authorization = payload.get("authorization")
        if authorization is None:
            return Caller(sender=sender)
        if not isinstance(authorization, str):
            raise TokenRejected
        return await self._of_authorization(authorization, sender)

    def token_of(self, values: Sequence[str]) -> bytes | None:
        """Give the digest of the token in `Authorization` headers, empty without any; None where they are not one."""
        if not values:
            return b""
        match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
        return digest_of(match.group(1)) if match is not None else None

    async def _of_authorization(self, authorization: str, sender: Sender) -> Caller:
        match = _BEARER.fullmatch(authorization)
        if match is None:
            raise TokenRejected
        caller = self.recall(digest_of(match.group(1)), sender)
        return caller if caller is not None else await self._check(match.group(1), sender)

    def recall(self, token: bytes, sender: Sender) -> Caller | None:
        """Give the caller of a token, by its digest, that was met before and is known to hold still."""
        met = self._met.get(token)
        if met is None or not self.verifier.holds(met.token):
            return None
        if met.credentials is None or self.revocations.cover(met.credentials):
            return None
        return (
            met
            if met.sender is sender or met.sender == sender
            else Caller(met.credentials, met.expires_at, sender, met.token)
        )

    async def _check(self, token: str, sender: Sender) -> Caller:
        claims = await self.verifier.check(token)
        user_id = self.ids.decode(NodeType.USER, claims.subject)
        if user_id is None:
            raise TokenRejected
        credentials = Credentials(
            user_id, claims.token_id, claims.issued_at, claims.session, claims.scopes, claims.authenticated_at
        )
        if self.revocations.cover(credentials):
            raise TokenRejected
        caller = self._met[claims.token] = Caller(credentials, claims.expires_at, sender, claims.token)
        if len(self._met) > MAX_REMEMBERED:
            self._met.popitem(last=False)
        return caller
