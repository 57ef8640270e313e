"""What the user service asks of us, on a port of its own that nobody else is to reach: what an export shows.

Every request is signed (`domain.signed_requests`); each may come any number of times, and changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from domain import holdings
from domain.sign_ups import Command
from domain.signed_requests import HEADER, NotSigned, Request
from identity.app import add_headers, errors_middleware
from identity.holdings import (
    fetch_account_held,
    fetch_actions_held,
    fetch_applications_held,
    fetch_sign_ins_held,
)
from identity.parts import Parts
from transport.health import DRAINING, serve_liveness

MAX_QUESTION_BYTES: Final = 1024
_ALIVE: Final = "/healthz"
Answer = Callable[[Parts, holdings.AskHoldings], Awaitable[Command]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ANSWERS: Final[dict[str, Answer]] = {
    holdings.ACCOUNT: lambda parts, asked: fetch_account_held(parts, asked.user_id),
    holdings.SIGN_INS: lambda parts, asked: fetch_sign_ins_held(parts, asked.user_id, asked.after),
    holdings.APPLICATIONS: lambda parts, asked: fetch_applications_held(parts, asked.user_id, asked.after),
    holdings.ACTIONS: lambda parts, asked: fetch_actions_held(parts, asked.user_id, asked.after),
}


def make_internal_app(parts: Parts) -> web.Application:
    """Put the answers behind their paths, for whoever signs with our common key."""

    @web.middleware
    async def only_signed(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == _ALIVE:
            return await handler(request)
        asked = Request(request.method, request.raw_path, await request.read())
        values = request.headers.getall(HEADER, [])
        try:
            asked.check(parts.keys.commands, values[0] if len(values) == 1 else None, parts.clock().timestamp())
        except NotSigned as error:
            return web.json_response({"error": "invalid_client", "error_description": str(error)}, status=401)
        return await handler(request)

    app = web.Application(
        middlewares=[errors_middleware, only_signed],
        client_max_size=MAX_QUESTION_BYTES,
        handler_args={"auto_decompress": False},
    )
    app[DRAINING] = asyncio.Event()
    app.router.add_get(_ALIVE, serve_liveness)
    for path, answer in ANSWERS.items():
        app.router.add_post(path, _serve(parts, answer))
    app.on_response_prepare.append(add_headers(parts.url))
    return app


def _serve(parts: Parts, answer: Answer) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=holdings.AskHoldings)
            found = await answer(parts, asked)
        except ValueError:
            # Where it does not say what was sent, nothing personal is in it.
            raise web.HTTPBadRequest from None
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    return handle
