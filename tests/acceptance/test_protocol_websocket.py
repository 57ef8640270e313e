"""graphql-transport-ws as attackers and careless clients speak it: the stated close code, and the next socket works."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any, Final

import aiohttp
import pytest

from tests.acceptance.main_job import HOST, MainJob
from tests.acceptance.people import People
from tests.acceptance.probes import Socket, expect_service, open_socket
from tests.raw_sockets import PING, PONG, frame, open_raw

INIT: Final = {"type": "connection_init"}
TYPENAME: Final = {"query": "{ __typename }"}
LIVE: Final = {"query": "subscription { followReceived { id } }"}
ANSWER: Final = {"data": {"__typename": "Query"}}
_HANDSHAKE: Final = (
    b"GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)


@pytest.fixture
async def job(people_of_one_cell: People) -> AsyncIterator[MainJob]:
    """Give the run, whose next socket must work after whatever a test has sent."""
    yield people_of_one_cell.job
    await expect_service(people_of_one_cell.job)
    async with open_socket(people_of_one_cell.job) as socket:
        await socket.write(INIT, subscribe("1", TYPENAME))
        await socket.read_until(type="complete", id="1")
    assert {"id": "1", "type": "next", "payload": ANSWER} in socket.messages


def subscribe(identity: object, payload: object) -> dict[str, object]:
    return {"type": "subscribe", "id": identity, "payload": payload}


def as_person(people: People, name: str) -> dict[str, object]:
    return {"type": "connection_init", "payload": {"authorization": f"Bearer {getattr(people, name).token}"}}


async def closed_by(job: MainJob, *frames: object, **options: Any) -> int | None:
    async with open_socket(job, **options) as socket:
        await socket.write(*frames)
        return await socket.closing()


async def test_a_subscription_before_the_introduction_closes_with_4401(job: MainJob) -> None:
    assert await closed_by(job, subscribe("1", TYPENAME)) == 4401
    assert await closed_by(job, subscribe("1", TYPENAME), INIT) == 4401


@pytest.mark.parametrize("subprotocols", [(), ("unknown",), ("graphql-ws",), ("graphql-transport-WS",)])
async def test_another_subprotocol_closes_with_4406(job: MainJob, subprotocols: tuple[str, ...]) -> None:
    assert await closed_by(job, subprotocols=subprotocols) == 4406


async def test_a_legacy_client_that_also_speaks_ours_is_served(job: MainJob) -> None:
    async with open_socket(job, subprotocols=("graphql-ws", "graphql-transport-ws")) as socket:
        await socket.write(INIT)
        assert await socket.read() == {"type": "connection_ack"}


async def test_silence_closes_with_4408_after_five_seconds(job: MainJob) -> None:
    began = monotonic()
    async with open_socket(job) as silent, open_socket(job) as chatty:
        await chatty.write({"type": "ping"})
        assert await silent.closing() == 4408
        assert await chatty.closing() == 4408
    assert monotonic() - began > 4.5
    assert chatty.messages == [{"type": "pong"}]


@pytest.mark.parametrize(
    "frame",
    [
        "",
        " ",
        "[]",
        "null",
        '"x"',
        "1",
        "{",
        "{}",
        '{"type":null}',
        '{"type":1}',
        '{"type":["ping"]}',
        '{"type":"start"}',
        '{"type":"connection_ack"}',
        '{"type":"next","id":"1","payload":{}}',
        '{"type":"connection_init","type":"ping"}',
        '{"type":"ping","payload":[]}',
        '{"type":"ping","payload":NaN}',
        "[" * 50_000,
        b'{"type":"connection_init"}',
        b"\x00",
    ],
    ids=lambda frame: repr(frame[:30]),
)
@pytest.mark.parametrize("introduced", [False, True], ids=["at first", "later"])
async def test_a_frame_that_is_no_message_closes_with_4400(
    job: MainJob, frame: str | bytes, *, introduced: bool
) -> None:
    assert await closed_by(job, *([INIT] if introduced else []), frame) == 4400


async def test_text_that_is_no_text_closes_with_1007(job: MainJob) -> None:
    async with open_socket(job) as socket:
        await socket.write_frame(b'{"type":"\xff"}', aiohttp.WSMsgType.TEXT)
        assert await socket.closing() == 1007


@pytest.mark.parametrize("payload", ["x", 1, [], True])
async def test_an_introduction_with_another_payload_closes_with_4400(job: MainJob, payload: object) -> None:
    assert await closed_by(job, {"type": "connection_init", "payload": payload}) == 4400


async def test_an_introduction_with_a_null_payload_closes_with_4400(job: MainJob) -> None:
    async with open_socket(job) as socket:
        await socket.write({"type": "connection_init", "payload": None})
        assert await socket.closing() == 4400


@pytest.mark.parametrize("credentials", ["", "x", "Bearer x", 1, [], {}, False])
async def test_credentials_that_do_not_hold_close_with_4403(job: MainJob, credentials: object) -> None:
    assert await closed_by(job, {"type": "connection_init", "payload": {"authorization": credentials}}) == 4403


async def test_a_second_introduction_closes_with_4429(job: MainJob, people_of_one_cell: People) -> None:
    assert await closed_by(job, INIT, INIT) == 4429
    assert await closed_by(job, INIT, as_person(people_of_one_cell, "ana")) == 4429


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "x",
        1,
        [],
        {},
        {"query": 1},
        {"query": ""},
        {"query": None},
        {**TYPENAME, "variables": []},
        {**TYPENAME, "variables": "x"},
        {**TYPENAME, "operationName": 1},
        {**TYPENAME, "extensions": []},
    ],
    ids=repr,
)
async def test_a_subscription_with_another_payload_closes_with_4400(job: MainJob, payload: object) -> None:
    assert await closed_by(job, INIT, subscribe("1", payload)) == 4400


async def test_a_subscription_without_payload_closes_with_4400(job: MainJob) -> None:
    assert await closed_by(job, INIT, {"type": "subscribe", "id": "1"}) == 4400


@pytest.mark.parametrize("identity", [None, "", 1, [], {}, "x" * 129], ids=lambda identity: repr(identity)[:9])
@pytest.mark.parametrize("kind", ["subscribe", "complete"])
async def test_an_id_that_is_no_text_closes_with_4400(job: MainJob, kind: str, identity: object) -> None:
    assert await closed_by(job, INIT, {"type": kind, "id": identity, "payload": TYPENAME}) == 4400


async def test_an_id_in_use_closes_with_4409(job: MainJob, people_of_one_cell: People) -> None:
    assert (
        await closed_by(job, as_person(people_of_one_cell, "ana"), subscribe("1", LIVE), subscribe("1", LIVE)) == 4409
    )


async def test_an_id_is_free_again_after_the_client_has_completed_it(job: MainJob, people_of_one_cell: People) -> None:
    complete = {"type": "complete", "id": "1"}
    async with open_socket(job) as socket:
        await socket.write(
            as_person(people_of_one_cell, "ana"), subscribe("1", LIVE), complete, subscribe("1", TYPENAME)
        )
        assert (await socket.read_until(type="next", id="1"))["payload"] == ANSWER


async def test_an_id_is_free_again_after_the_server_has_completed_it(job: MainJob) -> None:
    async with open_socket(job) as socket:
        await socket.write(INIT)
        for _ in range(50):
            await socket.write(subscribe("1", TYPENAME))
            assert (await socket.read_until(type="next"))["payload"] == ANSWER
            await socket.read_until(type="complete", id="1")


async def test_a_frame_that_is_not_masked_closes_with_1002(job: MainJob) -> None:
    async with open_raw(HOST, job.port) as socket:
        await socket.write(frame(PING, b"a") + frame(PING, b"b", masked=False))
        assert await socket.read_frame() == (PONG, b"a")
        assert await socket.close_code() == 1002


async def test_a_frame_that_is_too_large_closes_with_1009(job: MainJob) -> None:
    assert await closed_by(job, '{"type":"ping","payload":{"a":"' + "x" * 200_000 + '"}}') == 1009


async def test_a_frame_that_is_far_too_large_is_not_read_to_its_end(job: MainJob) -> None:
    async with open_socket(job) as socket:
        await socket.write('{"type":"ping","payload":{"a":"' + "x" * 5_000_000 + '"}}')
        assert await socket.closing() == 1009
        assert socket.messages == []


async def test_a_packed_frame_that_is_too_large_closes_with_1009(job: MainJob) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(job.socket_url, protocols=("graphql-transport-ws",), compress=15) as raw,
    ):
        socket = Socket(raw)
        await socket.write(" " * 5_000_000)
        assert await socket.closing() == 1009


async def test_whoever_still_writes_a_frame_that_is_too_large_may_do_so_and_answer_the_closing(job: MainJob) -> None:
    reader, writer = await asyncio.open_connection(HOST, job.port)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(writer.close)
        writer.write(_HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\xff" + (5_000_000).to_bytes(8) + b"mask" + b"x" * 1000)
        opcode, length = await reader.readexactly(2)
        assert (opcode, int.from_bytes((await reader.readexactly(length))[:2])) == (0x88, 1009)
        writer.write(b"x" * 4_999_000)
        await writer.drain()
        # The end of the server's side would make some clients give up before they have answered.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://127.0.0.1.evil.example", "file://"])
async def test_pages_of_other_origins_open_no_socket(job: MainJob, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await closed_by(job, headers={"Origin": origin})
    assert refused.value.status == 403


async def test_our_own_page_opens_a_socket(job: MainJob) -> None:
    async with open_socket(job, headers={"Origin": job.url.removesuffix("/graphql")}) as socket:
        await socket.write(INIT)
        assert await socket.read() == {"type": "connection_ack"}


async def test_pings_are_answered_before_and_after_the_introduction(job: MainJob) -> None:
    async with open_socket(job) as socket:
        await socket.write({"type": "ping"}, {"type": "pong"}, INIT, {"type": "ping", "payload": {"a": 1}})
        assert [await socket.read() for _ in range(3)] == [
            {"type": "pong"},
            {"type": "connection_ack"},
            {"type": "pong"},
        ]


async def test_completing_what_does_not_run_changes_nothing(job: MainJob) -> None:
    async with open_socket(job) as socket:
        await socket.write(INIT, {"type": "complete", "id": "x"}, {"type": "complete", "id": "x"}, {"type": "ping"})
        assert [await socket.read() for _ in range(2)] == [{"type": "connection_ack"}, {"type": "pong"}]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + " ".join(f"a{n}: __typename" for n in range(100)) + " }", "TOO_MANY_ALIASES"),
        ("subscription { a: followReceived { id } b: followReceived { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { __typename } query B { __typename }", "OPERATION_RESOLUTION_FAILURE"),
    ],
)
async def test_the_limits_are_those_of_http(job: MainJob, query: str, code: str) -> None:
    async with open_socket(job) as socket:
        await socket.write(INIT, subscribe("1", {"query": query}))
        error = await socket.read_until(type="error", id="1")
    assert error["payload"][0]["extensions"]["code"] == code


async def test_the_anonymous_hear_and_change_nothing(job: MainJob) -> None:
    follow = {"query": 'mutation { followUser(input: {userId: "x"}) { clientMutationId } }'}
    async with open_socket(job) as socket:
        await socket.write(INIT, subscribe("1", LIVE), subscribe("2", follow))
        answers = [await socket.read_until(type="next") for _ in range(2)]
    assert [answer["payload"]["errors"][0]["extensions"]["code"] for answer in answers] == ["UNAUTHENTICATED"] * 2


async def test_a_mutation_over_a_socket_is_the_person_s_own(job: MainJob, people_of_one_cell: People) -> None:
    follow = {"query": 'mutation { followUser(input: {userId: "x"}) { userErrors { code } } }'}
    async with open_socket(job) as socket:
        await socket.write(as_person(people_of_one_cell, "ana"), subscribe("1", follow))
        answer = await socket.read_until(type="next", id="1")
    assert answer["payload"] == {"data": {"followUser": {"userErrors": [{"code": "USER_UNAVAILABLE"}]}}}


async def test_a_cursor_that_is_not_the_viewer_s_is_told(job: MainJob, people_of_one_cell: People) -> None:
    forged = {"query": 'subscription { followReceived(after: "AAAAAAAA") { id } }'}
    async with open_socket(job) as socket:
        await socket.write(as_person(people_of_one_cell, "ana"), subscribe("1", forged))
        message = await socket.read_until(id="1")
    errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
    assert errors[0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_half_a_character_closes_with_4400(job: MainJob, people_of_one_cell: People) -> None:
    frame = (
        '{"type":"subscribe","id":"1","payload":{"query":"query($i:FollowOrder){me{followers(first:1,orderBy:$i)'
        '{totalCount}}}","variables":{"i":"\\ud800"}}}'
    )
    async with open_socket(job) as socket:
        await socket.write(as_person(people_of_one_cell, "ana"), frame)
        assert await socket.closing() == 4400


async def test_more_operations_than_allowed_close_with_4429(job: MainJob, people_of_one_cell: People) -> None:
    frames = [subscribe(str(number), LIVE) for number in range(50)]
    assert await closed_by(job, as_person(people_of_one_cell, "ana"), *frames) == 4429


async def test_twenty_operations_run_side_by_side(job: MainJob, people_of_one_cell: People) -> None:
    frames = [subscribe(str(number), LIVE) for number in range(19)]
    async with open_socket(job) as socket:
        await socket.write(as_person(people_of_one_cell, "ana"), *frames, subscribe("q", TYPENAME))
        assert (await socket.read_until(type="next", id="q"))["payload"] == ANSWER


@pytest.mark.parametrize("opcode", [aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG])
async def test_more_messages_than_a_person_sends_close_with_4429(job: MainJob, opcode: aiohttp.WSMsgType) -> None:
    frame = b'{"type":"pong"}' if opcode is aiohttp.WSMsgType.TEXT else b""
    async with open_socket(job) as socket:
        await socket.write(INIT)
        for _ in range(600):
            await socket.write_frame(frame, opcode)
        assert await socket.closing() == 4429


async def test_a_flood_of_short_operations_leaves_nothing_behind(job: MainJob, people_of_one_cell: People) -> None:
    async with open_socket(job) as socket:
        await socket.write(as_person(people_of_one_cell, "ana"))
        assert await socket.read() == {"type": "connection_ack"}
        for number in range(150):
            await socket.write(subscribe(str(number), LIVE), {"type": "complete", "id": str(number)})
            await socket.write({"type": "ping"})
            await socket.read_until(type="pong")
        await socket.write(subscribe("last", TYPENAME))
        await socket.read_until(type="complete", id="last")
    assert not [message for message in socket.messages if message["type"] == "error"]
