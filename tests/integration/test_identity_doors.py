"""The doors of the auth service: what is slow, too large or comes too often ends there, and stopping ends nothing."""

import asyncio
import contextlib
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator
from typing import cast

import pytest

from domain.rate_limits import RATES, OperationClass, Rate, Rates
from identity import forms
from identity.credentials import open_credentials
from identity.parts import Parts
from tests import raw_sockets
from tests.conftest import eventually
from tests.oidc import Answer, Application, open_application
from transport import connection
from transport.connections import ConnectionCaps

WITHIN_S = 60.0
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: kith\r\n\r\n"
FEW = Rates(account=(Rate(3, 600),), address=(Rate(9, 600),), client=(Rate(6, 600),))


@pytest.fixture
async def application(identity_parts: Parts) -> AsyncIterator[Application]:
    async with open_application(identity_parts) as opened:
        yield opened


@pytest.fixture
async def strict(identity_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Application]:
    """Refuse what is more than few, for addresses that tests name; all is counted in this process."""
    monkeypatch.setitem(cast("dict[OperationClass, Rates]", RATES), OperationClass.TOKEN, FEW)
    settings = identity_parts.settings.model_copy(update={"proxies": 1, "redis_url": None})
    async with open_credentials(settings, identity_parts.keys) as opened:
        limits = dataclasses.replace(opened.limits, is_enforced=True)
        credentials = dataclasses.replace(opened, limits=limits)
        parts = dataclasses.replace(identity_parts, credentials=credentials, settings=settings)
        async with open_application(parts) as application:
            yield application


def connected(
    application: Application,
) -> contextlib.AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    return raw_sockets.connected(int(application.parts.url.rpartition(":")[2]))


async def read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Cache-Control: no-store" in head
    assert b"Server: kith\r\n" in head
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head[9:12]), json.loads(await reader.readexactly(int(length.partition(b":")[2])))


async def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.1)
    async with connected(application) as (reader, writer):
        writer.write(REQUEST[:10])
        assert await read(reader) == (408, {"error": "invalid_request"})
        assert await reader.read() == b""


@pytest.mark.parametrize("path", [b"/token", b"/revoke", b"/sign-in", b"/sign-up"])
async def test_a_form_that_does_not_come_to_its_end_is_not_waited_for(
    application: Application, path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "READ_TIMEOUT_S", 0.1)
    async with connected(application) as (reader, writer):
        writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: kith\r\nContent-Length: 50\r\n" + FORM + b"\r\nform=")
        assert await read(reader) == (408, {"error": "invalid_request"})


@pytest.mark.parametrize("head", [b"Content-Length: 70000\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_form_that_is_too_large_is_not_read(application: Application, head: bytes) -> None:
    chunk = b"a" * 5000
    async with connected(application) as (reader, writer):
        writer.write(b"POST /token HTTP/1.1\r\nHost: kith\r\n" + head + FORM + b"\r\n")
        for _ in range(14):
            writer.write(chunk if b"Length" in head else b"1388\r\n" + chunk + b"\r\n")
        assert await read(reader) == (413, {"error": "invalid_request"})


@pytest.mark.parametrize("data", [b"\0\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"])
async def test_what_is_no_request_is_told_so_in_no_word_of_its_own(application: Application, data: bytes) -> None:
    async with connected(application) as (reader, writer):
        writer.write(data)
        assert await read(reader) == (400, {"error": "invalid_request"})


@pytest.mark.parametrize("caps", [ConnectionCaps(total=1), ConnectionCaps(per_address=1)], ids=["in all", "an address"])
async def test_one_connection_too_many_is_told_so_and_the_others_go_on(
    identity_parts: Parts, caps: ConnectionCaps
) -> None:
    async with open_application(identity_parts, caps) as application, connected(application) as (reader, writer):
        writer.write(REQUEST)
        assert (await read(reader))[0] == 200
        async with connected(application) as (other, _):
            assert await read(other) == (503, {"error": "temporarily_unavailable"})
            assert await other.read() == b""
        writer.write(REQUEST)
        assert (await read(reader))[0] == 200


async def test_what_runs_when_the_service_stops_is_answered(identity_parts: Parts) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with open_application(identity_parts) as application:
            reader, writer = await stack.enter_async_context(connected(application))
            writer.write(b"POST /token HTTP/1.1\r\nHost: kith\r\nContent-Length: 6\r\n" + FORM + b"\r\na=1")
            other, waiting = await stack.enter_async_context(connected(application))
            waiting.write(REQUEST)
            assert (await read(other))[0] == 200
            asyncio.get_running_loop().call_soon(writer.write, b"&b=")
        assert await read(reader) == (400, {"error": "invalid_request"})
        assert await reader.read() == b""


async def test_a_service_without_redis_is_still_ready(application: Application, strict: Application) -> None:
    async def is_ready(which: Application, checks: dict[str, str]) -> bool:
        answer = await which.get("/readyz")
        return (answer.status, answer.body["checks"]) == (200, checks)

    await eventually(lambda: is_ready(application, {"database": "ok", "redis": "ok"}))
    await eventually(lambda: is_ready(strict, {"database": "ok", "redis": "away"}))


async def test_an_address_asks_for_tokens_so_often_and_no_more(strict: Application) -> None:
    here, there = somewhere(), somewhere()
    for number in range(FEW.address[0].amount):
        answer = await ask(strict, here, client_id=f"c{number}")
        assert answer.status == 401, "an application that is not known counts for nobody but the address"
    assert_refused(await ask(strict, here))
    assert (await ask(strict, there)).status == 400


async def test_an_application_asks_at_one_address_so_often_and_no_more(strict: Application) -> None:
    here, there = somewhere(), somewhere()
    for _ in range(FEW.client[0].amount):
        assert (await ask(strict, here)).status == 400
    assert_refused(await ask(strict, here))
    assert (await ask(strict, here, client_id="other")).status == 401
    assert (await ask(strict, there)).status == 400


async def test_a_family_is_renewed_so_often_and_no_more_wherever_it_is(strict: Application) -> None:
    anas, bos = [await tokens_of(strict) for _ in range(2)]
    for _ in range(FEW.account[0].amount):
        assert (await ask(strict, somewhere(), refresh_token=anas)).status == 200
    assert_refused(await ask(strict, somewhere(), refresh_token=anas))
    assert (await ask(strict, somewhere(), refresh_token=bos)).status == 200


async def tokens_of(application: Application) -> str:
    """Sign somebody in, and give the refresh token; where the code is exchanged counts for no address of a test."""
    code = await application.code(await application.sign_up())
    exchange = {"redirect_uri": application.redirect_uri, "code_verifier": application.verifier, "code": code}
    answer = await ask(application, somewhere(), grant_type="authorization_code", **exchange)
    return str(answer.body["refresh_token"])


async def ask(application: Application, address: str, **fields: str) -> Answer:
    form = {"client_id": "graphiql", "grant_type": "refresh_token", **fields}
    return await application.post("/token", form, **{"X-Forwarded-For": address})


def assert_refused(answer: Answer) -> None:
    assert (answer.status, answer.body) == (429, {"error": "temporarily_unavailable"})
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-RateLimit-Remaining"] == "0"


def somewhere() -> str:
    return ".".join(["10", *(str(secrets.randbelow(250)) for _ in range(3))])
