"""The short way of requests whose head is known: what it answers differs in nothing from what the long way does."""

import asyncio
import contextlib
import dataclasses
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

import pytest
from aiohttp import web

from resolvers.revocations import Revocations
from tests.conftest import MakePerson
from tests.integration.test_sockets import Serve, Served, one_cell, serve
from tests.raw_sockets import connected
from transport.app import SHORT_WAY, make_app
from transport.connection import Answering, Connection
from transport.connections import ConnectionCaps
from transport.failures import FORM
from transport.lines import Caps
from transport.serving import Serving

__all__ = ["one_cell", "serve"]

TRIES: Final = 10
BUSY: Final = (b"OVERLOADED", b"DEADLINE_EXCEEDED")
ORIGIN: Final = "https://app.example"
PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
JSON: Final = "Content-Type: application/json\r\n"
GRAPHQL: Final = JSON + "Accept: application/graphql-response+json\r\n"
HEADS: Final = {
    "plain": JSON,
    "other words": "content-type: application/json; charset=utf-8\r\nconnection: Keep-Alive\r\n",
    "typed": GRAPHQL,
    "traced": f"{JSON}traceparent: {PARENT}\r\n",
    "a listed page": f"{JSON}Origin: {ORIGIN}\r\n",
    "another page": f"{GRAPHQL}Origin: https://other.example\r\n",
    "patient": f"{JSON}Request-Timeout: 60.5\r\n",
    "impatient": f"{JSON}Request-Timeout: soon\r\n",
}
NAMED: Final = "query Q($name: String!) { user(username: $name) { id bio } }"
BODIES: Final = (
    {"query": "{ me { id username } }"},
    {"query": "{ me { id username } }", "extensions": {"cost": True}},
    {"query": NAMED, "variables": {"name": "nobody.x"}},
    {"query": NAMED, "variables": {"name": 1}},
    {"query": "{ nonsense }"},
    {"query": "{"},
    {"query": "{ me { id } }", "operationName": "None"},
    {"query": "subscription { followReceived { cursor } }"},
    {"query": 'mutation { unfollowUser(input: {userId: "x"}) { userErrors { code } } }'},
    {"documentId": "sha256:none"},
)
_DIFFERS: Final = re.compile(
    rb"(?<=X-Request-Id: )[0-9a-f]{16}|(?<=traceparent: 00-)(?!0af7651916cd43dd)[0-9a-f]{32}|-[0-9a-f]{16}(?=-)"
    rb"|(?<=Date: )[^\r]+|(?<=remaining: )[0-9]+|(?<=used: )[0-9]+|(?<=reset: )[0-9]+"
)
"""What no two answers share."""


class Way:
    """A service on a port; `taken` counts what went the short way."""

    def __init__(self, app: web.Application, serving: Serving, port: int) -> None:
        self.app = app
        self.serving = serving
        self.port = port
        self.taken = 0

    async def ask(self, requests: Sequence[bytes]) -> list[bytes]:
        """Send requests one after the other on one connection; gives the answers once none came for want of time."""
        answers: list[bytes] = []
        for _ in range(TRIES):
            answers = await self._ask(requests)
            if not any(code in answer for answer in answers for code in BUSY):
                break
        return answers

    async def _ask(self, requests: Sequence[bytes]) -> list[bytes]:
        async with connected(self.port) as (reader, writer):
            answers = []
            for request in requests:
                writer.write(request)
                answers.append(await read_answer(reader))
        return answers


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: ([0-9]+)", head)
    assert length is not None, head
    return head + await reader.readexactly(int(length.group(1)))


@contextlib.asynccontextmanager
async def opened(served: Served, *, is_short: bool) -> AsyncIterator[Way]:
    app = make_app(dataclasses.replace(served.parts, allowed_origins=(ORIGIN,)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def take(data: bytes, connection: Connection) -> Answering | None:
            answering = app[SHORT_WAY].take(data, connection) if is_short else None
            way.taken += answering is not None
            return answering

        serving = Serving(app, caps=ConnectionCaps(), form=FORM, short=take)
        way = Way(app, serving, port)
        await serving.start([listener])
        try:
            yield way
        finally:
            await serving.stop()


@pytest.fixture
async def ways(serve: Serve) -> AsyncIterator[tuple[Way, Way, Served]]:
    """Serve twice with the same parts: by both ways, and by the long one alone."""
    served = await serve(Caps())
    async with opened(served, is_short=True) as short, opened(served, is_short=False) as long:
        yield short, long, served


def request(head: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    return f"POST /graphql HTTP/1.1\r\nHost: kith\r\n{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def masked(answers: Sequence[bytes]) -> list[bytes]:
    return [_DIFFERS.sub(b"...", answer) for answer in answers]


@pytest.mark.parametrize("signed_in", [True, False])
async def test_both_ways_answer_the_same_bytes(
    ways: tuple[Way, Way, Served], make_person: MakePerson, *, signed_in: bool
) -> None:
    short, long, served = ways
    token = served.token(await make_person())
    for name, words in HEADS.items():
        head = words + (f"Authorization: Bearer {token}\r\n" if signed_in else "")
        requests = [request(head, body) for body in (BODIES[0], *BODIES)]
        ours, theirs = await short.ask(requests), await long.ask(requests)
        assert masked(ours) == masked(theirs), name
    assert short.taken >= len(HEADS) * len(BODIES)


@pytest.mark.parametrize(
    "words",
    [
        "Connection: keep-alive, Upgrade\r\n",
        "Content-Encoding: identity\r\n",
        f"TRACEPARENT: {PARENT}\r\n",
        f"traceparent: {PARENT}\r\nTRACEPARENT: {PARENT}\r\n",
        "traceparent: 00-none\r\n",
        "Idempotency-Key: a\r\n",
        "Accept: text/event-stream\r\n",
    ],
    ids=lambda words: words[:30].strip(),
)
async def test_what_makes_a_head_another_thing_goes_the_long_way(ways: tuple[Way, Way, Served], words: str) -> None:
    short, long, _ = ways
    requests = [request(JSON + words, BODIES[0])] * 3
    assert masked(await short.ask(requests)) == masked(await long.ask(requests))
    assert short.taken == 0


async def test_a_token_that_ends_meanwhile_is_refused_by_both_ways(
    ways: tuple[Way, Way, Served], make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long, served = ways
    asked = request(f"{JSON}Authorization: Bearer {served.token(await make_person())}\r\n", BODIES[0])
    assert [answer[:12] for answer in await short.ask([asked] * 3)] == [b"HTTP/1.1 200"] * 3
    assert short.taken >= 2
    monkeypatch.setattr(Revocations, "cover", lambda _self, _credentials: True)
    await expect_refused(short, long, asked)
    monkeypatch.undo()
    monkeypatch.setattr(served.parts.access.verifier, "_clock", lambda: time.time() + 10 * 365 * 86_400)
    await expect_refused(short, long, asked)


async def expect_refused(short: Way, long: Way, asked: bytes) -> None:
    before = short.taken
    ours, theirs = await short.ask([asked] * 2), await long.ask([asked] * 2)
    assert [answer[:12] for answer in ours] == [b"HTTP/1.1 401"] * 2
    assert masked(ours) == masked(theirs)
    assert short.taken >= before + 2


async def test_a_head_is_known_whoever_asks_with_it(ways: tuple[Way, Way, Served], make_person: MakePerson) -> None:
    short, long, served = ways
    people = [await make_person() for _ in range(3)]
    signed = [f"Authorization: Bearer {served.token(person)}\r\n" for person in people]
    requests = [request(JSON + words, BODIES[0]) for words in ["", *signed, "Authorization: Bearer none\r\n", *signed]]
    ours = await short.ask(requests)
    assert masked(ours) == masked(await long.ask(requests))
    assert short.taken >= len(requests) - 1
    for answer, person in zip([*ours[1:4], *ours[5:]], [*people, *people], strict=True):
        assert f'"username":"{person.name}"'.encode() in answer


async def test_behind_a_whole_head_that_came_before_each_body_is_read_and_nothing_is_taken_for_a_part_of_it(
    ways: tuple[Way, Way, Served], make_person: MakePerson
) -> None:
    short, long, served = ways
    head = f"{JSON}Authorization: Bearer {served.token(await make_person())}\r\n"
    one, other = request(head, {"query": "{ me { id } }"}), request(head, {"query": "{ me { bio} }"})
    assert len(one) == len(other)
    asked = [one, one, other, one[:-1] + b"?", one, other]
    ours = await short.ask(asked)
    assert masked(ours) == masked(await long.ask(asked))
    assert (short.taken, len(set(masked(ours)))) == (4, 3)
    pairs = [await ask_at_once(way, one + other) for way in (short, long)]
    assert masked(pairs[0]) == masked(pairs[1]) == masked([ours[0], ours[2]])


async def test_behind_a_whole_head_that_came_before_a_body_is_waited_for_to_its_last_byte(
    ways: tuple[Way, Way, Served],
) -> None:
    short, _, _ = ways
    asked = request(JSON, {"query": "{ me { id } }"})
    asked = asked.replace(b'"{ me { id } }"}', b'"{ me { id} }"} ')
    await short.ask([asked] * 3)
    async with connected(short.port) as (reader, writer):
        writer.write(asked[:-1])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read_answer(reader), 0.3)
        writer.write(asked[-1:])
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200 ")


async def ask_at_once(way: Way, requests: bytes) -> list[bytes]:
    """Send two requests in one piece."""
    async with connected(way.port) as (reader, writer):
        writer.write(requests)
        return [await read_answer(reader), await read_answer(reader)]


FORMS: Final = {
    "authorization: bearer {}": 200,
    "Authorization: bEARER {}": 200,
    "Authorization:  Bearer {}": 200,
    "Authorization: Bearer  {}": 200,
    "AUTHORIZATION: Bearer {}": 200,
    "Authorization: Bearer {} ": 200,
    "Authorization: Bearer {}\r\nAUTHORIZATION: Bearer {}": 401,
    "Authorization: Bearer {}\r\nAuthorization: Bearer {}": 401,
    "Authorization: Bearer {}\r\n x": 400,
    "Authorization: Basic {}": 401,
    "Authorization: {}": 401,
    "Authorization: Bearer " + "x" * 9000: 431,
}


async def test_a_token_is_read_by_both_ways_alike(ways: tuple[Way, Way, Served], make_person: MakePerson) -> None:
    short, long, served = ways
    token = served.token(await make_person())
    known = request(f"{JSON}Authorization: Bearer {token}\r\n", BODIES[0])
    for form, status in FORMS.items():
        requests = [known, request(f"{JSON}{form.format(token, token)}\r\n", BODIES[0])]
        ours, theirs = await short.ask(requests), await long.ask(requests)
        assert int(ours[1][9:12]) == status, form
        assert masked(ours) == masked(theirs), form
