"""`POST /token` and `POST /revoke`: codes and refresh tokens become tokens, and end."""

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from aiohttp import web
from aiohttp.hdrs import ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, VARY

from domain.rate_limits import OperationClass
from identity.codes import IssuedCode, fetch_code, use_code
from identity.database import Connection
from identity.discovery import REVOKE, TOKEN
from identity.families import (
    Family,
    Standing,
    begin_family,
    end_families,
    fetch_family_id,
    fetch_presented,
    new_family,
    rotate,
)
from identity.forms import BadForm, read_form
from identity.grants import Refused, check_client, check_code, check_refresh
from identity.limits import TooOften
from identity.metrics import GRANTS, REUSES
from identity.minting import LIFE, Mint
from identity.parts import Parts
from transport.addresses import address_of

Answer = dict[str, object]


def routes(parts: Parts) -> Iterable[web.AbstractRouteDef]:
    """Serve the two endpoints."""
    tokens = Tokens(parts, Mint(parts.url, parts.settings.auth_audience))
    return [web.post(TOKEN, _told(parts, tokens.grant)), web.post(REVOKE, _told(parts, tokens.revoke))]


Fields = Mapping[str, str]
Work = Callable[[Fields], Awaitable[Answer]]
_STATUS: Final = {"invalid_client": 401}
_TOO_OFTEN: Final = "temporarily_unavailable"


def _told(parts: Parts, work: Work) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Read the form, and answer in the form of RFC 6749, readable by the pages of registered applications."""
    origins = frozenset(origin for client in parts.clients.values() for origin in client.origins)

    async def serve(request: web.Request) -> web.Response:
        origin = request.headers.get(ORIGIN, "")
        headers: dict[str, str] = {VARY: ORIGIN} | ({ACCESS_CONTROL_ALLOW_ORIGIN: origin} if origin in origins else {})
        try:
            fields = await read_form(request)
            headers.update(await _count(parts, request, fields))
            return web.json_response(await work(fields), headers=headers)
        except BadForm:
            refused = Refused("invalid_request")
        except Refused as error:
            refused = error
        except TooOften as error:
            return web.json_response({"error": _TOO_OFTEN}, status=429, headers=headers | dict(error.headers))
        return web.json_response({"error": refused.error}, status=_STATUS.get(refused.error, 400), headers=headers)

    return serve


async def _count(parts: Parts, request: web.Request, fields: Fields) -> Mapping[str, str]:
    """Count for the address and the application, and then for the family whose token is presented; raises TooOften."""
    limits, client = parts.credentials.limits, fields.get("client_id")
    address = address_of(request, parts.settings.proxies)
    left = await limits.count(OperationClass.TOKEN, address, client=client if client in parts.clients else None)
    presented = fields.get("refresh_token", fields.get("token"))
    if presented is None:
        return left
    async with parts.database.connection() as connection:
        family = await fetch_family_id(connection, presented)
    return left if family is None else await limits.count(OperationClass.TOKEN, None, str(family))


@dataclasses.dataclass(frozen=True, slots=True)
class Tokens:
    """The two endpoints."""

    parts: Parts
    mint: Mint

    async def grant(self, fields: Mapping[str, str]) -> Answer:
        """Exchange a code or a refresh token for tokens; raises Refused."""
        kinds = {"authorization_code": self._exchange, "refresh_token": self._refresh}
        kind = fields.get("grant_type", "")
        if kind not in kinds:
            raise Refused("unsupported_grant_type" if kind else "invalid_request")
        async with self.parts.database.transaction() as connection:
            answer = await kinds[kind](connection, fields)
        # What ends because of a refusal is written: the refusal comes after the commit.
        GRANTS.labels(kind, "refused" if answer is None else "granted").inc()
        if answer is None:
            raise Refused("invalid_grant")
        return answer

    async def revoke(self, fields: Mapping[str, str]) -> Answer:
        """End the family of a refresh token (RFC 7009); one that is not known has ended already."""
        client = check_client(self.parts.clients, fields)
        if "token" not in fields:
            raise Refused("invalid_request")
        async with self.parts.database.transaction() as connection:
            presented = await fetch_presented(connection, fields["token"])
            if presented is not None and presented.family.client_id == client.id:
                now = self.parts.clock()
                await end_families(connection, only=[presented.family.id], now=now, why="revoked")
        return {}

    async def _exchange(self, connection: Connection, fields: Mapping[str, str]) -> Answer | None:
        now = self.parts.clock()
        code = await fetch_code(connection, fields.get("code"))
        if code is not None and code.family_id is not None:
            # Somebody has had it before: of the two, one has stolen it.
            REUSES.labels("code").inc()
            await end_families(connection, only=[code.family_id], now=now, why="code_reused")
            return None
        check_code(self.parts.clients, fields, code)
        if code is None or not code.holds(now):
            return None
        family = _family_of(code)
        refresh_token = await begin_family(connection, family, code.session_id, now)
        await use_code(connection, fields["code"], family.id)
        key = await self.parts.signing_keys.current(connection)
        answer = await self._answer(connection, family, family.scope, refresh_token)
        id_token = self.mint.id_token(key, family, code.nonce, now)
        return answer | ({"id_token": id_token} if id_token is not None else {})

    async def _refresh(self, connection: Connection, fields: Mapping[str, str]) -> Answer | None:
        now = self.parts.clock()
        presented = await fetch_presented(connection, fields.get("refresh_token", ""))
        owner, scope = (presented.family.client_id, presented.family.scope) if presented is not None else (None, "")
        check_refresh(self.parts.clients, fields, owner=owner, scope=scope)
        if presented is None:
            return None
        match presented.standing(now):
            case Standing.ENDED:
                return None
            case Standing.STOLEN:
                REUSES.labels("refresh_token").inc()
                await end_families(connection, only=[presented.family.id], now=now, why="token_reused")
                return None
        successor = await rotate(connection, presented, self.parts.keys.refresh_tokens, now)
        return await self._answer(connection, presented.family, fields.get("scope", scope), successor)

    async def _answer(self, connection: Connection, family: Family, scope: str, refresh_token: str) -> Answer:
        key = await self.parts.signing_keys.current(connection)
        return {
            "access_token": self.mint.access_token(key, family, scope, self.parts.clock()),
            "token_type": "Bearer",
            "expires_in": int(LIFE.total_seconds()),
            "refresh_token": refresh_token,
            "scope": scope,
        }


def _family_of(code: IssuedCode) -> Family:
    return new_family(code.account_id, code.subject, code.client_id, code.scope, code.authenticated_at)
