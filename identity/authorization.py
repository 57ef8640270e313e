"""`GET /authorize`: an application asks for a code for whoever is signed in.

Who has to sign in first is sent to `/sign-in?continue=…`, with `again=1` where the session at hand will not do. The
address to continue at is this one, which then asks for a sign-in after the moment at which it was first opened.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlencode

from aiohttp import web
from authlib.common.urls import add_params_to_uri

from identity.codes import issue_code
from identity.discovery import AUTHORIZE
from identity.forms import BadForm, read_query
from identity.grants import Asked, Refused, check_authorization
from identity.parts import Parts
from identity.sessions import Session, fetch_session

SIGN_IN: Final = "/sign-in"
_AFTER: Final = "after"
_ASKED_ONCE: Final = frozenset({"prompt", "max_age", _AFTER})
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def routes(parts: Parts) -> Iterable[web.AbstractRouteDef]:
    """Serve the endpoint."""
    return [web.get(AUTHORIZE, Authorization(parts).serve, allow_head=False)]


def is_continuation(path: str) -> bool:
    """Tell whether a sign-in may go on at an address: at this endpoint, and nowhere else."""
    return path.startswith(f"{AUTHORIZE}?") and path.isascii() and path.isprintable()


@dataclasses.dataclass(frozen=True, slots=True)
class Authorization:
    """The endpoint."""

    parts: Parts

    async def serve(self, request: web.Request) -> web.Response:
        """Answer with a redirect: to the application with a code or an error, or to the sign-in page.

        A request whose application or address is not registered is answered here: its sender is nobody we know.
        """
        try:
            fields = read_query(request)
        except BadForm:
            return web.json_response({"error": "invalid_request"}, status=400)
        try:
            asked = check_authorization(self.parts.clients, fields)
            return await self._answer(request, asked, fields)
        except Refused as refused:
            if refused.redirect_uri is None:
                return web.json_response({"error": refused.error}, status=400)
            return self._send(refused.redirect_uri, fields.get("state"), error=refused.error)

    async def _answer(self, request: web.Request, asked: Asked, fields: Mapping[str, str]) -> web.Response:
        now = self.parts.clock()
        async with self.parts.database.transaction() as connection:
            session = await fetch_session(connection, self.parts.cookie.secret_of(request), now)
            if session is not None and _is_fresh(asked, fields.get(_AFTER), session, now):
                code = await issue_code(connection, asked, session, now)
                return self._send(asked.redirect_uri, asked.state, code=code)
        if "none" in asked.prompt:
            raise Refused("login_required", asked.redirect_uri)
        return _sign_in(fields, now, again=session is not None)

    def _send(self, redirect_uri: str, state: str | None, **answer: str) -> web.Response:
        """Send the browser back to the application; `iss` tells it who answers (RFC 9207)."""
        params = [*answer.items(), *([("state", state)] if state is not None else []), ("iss", self.parts.url)]
        return _see(add_params_to_uri(redirect_uri, params))


def _is_fresh(asked: Asked, after: str | None, session: Session, now: dt.datetime) -> bool:
    """Tell whether a session will do: its sign-in is recent enough for what the application asks."""
    if after is not None:
        return after.isdecimal() and (session.authenticated_at - _EPOCH) // _MICROSECOND >= int(after)
    if asked.prompt & {"login", "select_account"}:
        return False
    return asked.max_age is None or now - session.authenticated_at <= dt.timedelta(seconds=asked.max_age)


def _sign_in(fields: Mapping[str, str], now: dt.datetime, *, again: bool) -> web.Response:
    kept = {name: value for name, value in fields.items() if name not in _ASKED_ONCE}
    if again:
        kept[_AFTER] = str((now - _EPOCH) // _MICROSECOND)
    asked = {"continue": f"{AUTHORIZE}?{urlencode(kept)}", **({"again": "1"} if again else {})}
    return _see(f"{SIGN_IN}?{urlencode(asked)}")


def _see(location: str) -> web.Response:
    return web.Response(status=303, headers={"Location": location})
