"""What the auth service asks of us, on a port of its own that nobody else is to reach.

Every request is signed (`domain.signed_requests`); every command may come any number of times, and has its effect once.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from domain import sign_ups as commands
from domain.errors import DeadlineExceeded, InvalidInput, Overloaded
from domain.signed_requests import HEADER, NotSigned, Request
from resolvers import sign_ups
from resolvers.context import Backend
from transport.bodies import BadRequest
from transport.failures import errors_middleware, mark
from transport.health import DRAINING, serve_liveness

_TAKES_S: Final = 10.0
_RETRY_AFTER_S: Final = 1
C = TypeVar("C", bound=commands.Command)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(BadRequest):
    """This command cannot be understood."""


class NotAllowed(BadRequest):
    """The request is not signed."""

    code = "UNAUTHENTICATED"
    status = 401


class Reused(BadRequest):
    """This id was used for another command."""

    code = "CONFLICT"
    status = 409


class NotNow(BadRequest):
    """The service cannot do this right now; send the same again."""

    code = "OVERLOADED"
    status = 503


def make_internal_app(backend: Backend, key: bytes, *, clock: Callable[[], float] = time.time) -> web.Application:
    """Put the commands behind their paths; `key` is what the auth service signs with."""

    @web.middleware
    async def only_signed(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/internal/"):
            return await handler(request)
        asked = Request(request.method, request.raw_path, await request.read())
        values = request.headers.getall(HEADER, [])
        try:
            asked.check(key, values[0] if len(values) == 1 else None, clock())
        except NotSigned as error:
            raise NotAllowed(str(error)) from None
        return await _translated(request, handler)

    app = web.Application(
        middlewares=[errors_middleware, only_signed],
        client_max_size=commands.MAX_BYTES,
        handler_args={"auto_decompress": False},
    )
    app[DRAINING] = asyncio.Event()
    app.add_routes(_Commands(backend).routes())
    app.router.add_get("/healthz", serve_liveness)
    app.on_response_prepare.append(mark)
    return app


async def _translated(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give what a command may meet with its status: what will never do is told apart from what passes."""
    try:
        async with asyncio.timeout(_TAKES_S):
            return await handler(request)
    except (Overloaded, DeadlineExceeded, TimeoutError):
        raise NotNow(retryAfter=_RETRY_AFTER_S) from None
    except sign_ups.SignUpReused as error:
        raise Reused(str(error)) from None
    except InvalidInput as error:
        raise Refused(str(error)) from None


class _Commands:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[web.RouteDef]:
        return [
            web.put("/internal/users/{id}", self._create),
            web.delete("/internal/users/{id}", self._take_back),
            web.put("/internal/users/{id}/email", self._set_email),
            web.post(commands.NAMES, self._tell_name),
            web.post(commands.REVOCATIONS, self._revoke),
            web.post(commands.STANDINGS, self._tell_standings),
            web.post(commands.PEOPLE, self._tell_people),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        command = await _read(request, commands.CreateUser)
        return _answer(await sign_ups.create_user(self._backend, _sign_up_id(request), command))

    async def _take_back(self, request: web.Request) -> web.Response:
        return _answer(commands.Done(known=await sign_ups.take_user_back(self._backend, _sign_up_id(request))))

    async def _set_email(self, request: web.Request) -> web.Response:
        command = await _read(request, commands.SetEmail)
        return _answer(commands.Done(known=await sign_ups.set_email(self._backend, request.match_info["id"], command)))

    async def _tell_name(self, request: web.Request) -> web.Response:
        asked = await _read(request, commands.AskName)
        return _answer(await sign_ups.fetch_name_standing(self._backend, asked.username))

    async def _revoke(self, request: web.Request) -> web.Response:
        command = await _read(request, commands.Revoke)
        return _answer(commands.Done(known=await sign_ups.end_sessions(self._backend, command)))

    async def _tell_standings(self, request: web.Request) -> web.Response:
        asked = await _read(request, commands.AskStandings)
        standings = await sign_ups.fetch_standings(self._backend, asked.user_ids)
        return _answer(commands.Standings(standings=standings))

    async def _tell_people(self, request: web.Request) -> web.Response:
        asked = await _read(request, commands.AskPeople)
        return _answer(await sign_ups.fetch_people(self._backend, asked.after))


async def _read(request: web.Request, command: type[C]) -> C:
    """Read a command, strictly; what was sent is not in the message."""
    if request.content_type != "application/json":
        raise Refused("Send `Content-Type: application/json`.")
    try:
        return msgspec.json.decode(await request.read(), type=command)
    except msgspec.MsgspecError:
        raise Refused(f"This is no {command.__name__}.") from None


def _sign_up_id(request: web.Request) -> uuid.UUID:
    try:
        return uuid.UUID(request.match_info["id"])
    except ValueError:
        raise Refused("A sign-up has a UUID.") from None


def _answer(answer: commands.Command) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=msgspec.json.encode(answer), headers=headers)
