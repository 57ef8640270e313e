"""The event streams of graphql-sse, one connection per operation: what is streamed, what is refused, how it ends."""

from typing import Final

import pytest

from tests.acceptance.people import Data, People, claims_of, cursor_of_now, sign
from tests.acceptance.probes import GRAPHQL, JSON, expect_refusal, send, send_json
from tests.acceptance.streams import EVENTS, EventStream, open_stream

TYPENAME: Final = "{ __typename }"
LIVE: Final = "subscription($after: String) { followReceived(after: $after) { cursor actor { username } } }"
ANSWER: Final = {"data": {"__typename": "Query"}}


async def test_a_query_is_one_event_and_the_end(people_of_one_cell: People) -> None:
    async with open_stream(people_of_one_cell.job, TYPENAME) as stream:
        assert stream.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert stream.response.headers["Cache-Control"] == "private, no-store"
        assert [await stream.read() for _ in range(3)] == [("next", ANSWER), ("complete", None), None]


async def test_a_query_by_get_is_streamed_too(people_of_one_cell: People) -> None:
    answer = await send(
        people_of_one_cell.job, method="GET", headers={"Accept": EVENTS}, parameters={"query": TYPENAME}
    )
    assert answer.body == b'event: next\ndata: {"data":{"__typename":"Query"}}\n\nevent: complete\ndata: \n\n'


async def test_a_mutation_is_streamed_by_post_and_refused_by_get(people_of_one_cell: People) -> None:
    follow = 'mutation { followUser(input: {userId: "x"}) { userErrors { code } } }'
    async with open_stream(people_of_one_cell.job, follow, people_of_one_cell.ana.token) as stream:
        assert await stream.next() == {"data": {"followUser": {"userErrors": [{"code": "USER_UNAVAILABLE"}]}}}
    answer = await send(people_of_one_cell.job, method="GET", headers={"Accept": EVENTS}, parameters={"query": follow})
    expect_refusal(answer, 405)


@pytest.mark.parametrize("accept", [f"{GRAPHQL}, {JSON}, {EVENTS}", f"{EVENTS}, */*"])
async def test_who_takes_json_as_well_gets_streams_of_subscriptions_only(
    people_of_one_cell: People, accept: str
) -> None:
    answer = await send_json(people_of_one_cell.job, accept, query=TYPENAME)
    assert answer.headers["Content-Type"].startswith((JSON, GRAPHQL))
    async with open_stream(people_of_one_cell.job, LIVE, headers={"Accept": accept}) as stream:
        assert stream.response.headers["Content-Type"].startswith(EVENTS)


async def told_of(stream: EventStream, name: str) -> Data:
    """Read on until somebody is told of: whoever made the cursor may have needed more than one follow for it."""
    while (told := (await stream.next())["data"]["followReceived"])["actor"] != {"username": name}:
        pass
    event: Data = told
    return event


async def test_each_follow_is_an_event(people: People) -> None:
    owner, followers = people.take(), [people.take() for _ in range(3)]
    cursor = await cursor_of_now(people, owner)
    async with open_stream(people.job, LIVE, owner.token, after=cursor) as stream:
        for follower in followers:
            await follower.follow(owner)
            await told_of(stream, follower.name)
        assert stream.comments >= 1


async def test_a_stream_resumes_after_a_cursor_of_a_socket_and_the_other_way(people: People) -> None:
    owner, one, other = people.take(), people.take(), people.take()
    cursor = await cursor_of_now(people, owner)
    await one.follow(owner)
    async with open_stream(people.job, LIVE, owner.token, after=cursor) as stream:
        told = await told_of(stream, one.name)
    await other.follow(owner)
    async with owner.live(after=told["cursor"]) as live:
        assert (await live.next())["actor"] == {"username": other.name}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + " ".join(f"a{n}: __typename" for n in range(100)) + " }", "TOO_MANY_ALIASES"),
        (LIVE, "UNAUTHENTICATED"),
        ('subscription { followReceived(after: "AAAAAAAA") { id } }', "UNAUTHENTICATED"),
    ],
)
async def test_what_cannot_run_is_told_in_the_stream(people_of_one_cell: People, query: str, code: str) -> None:
    async with open_stream(people_of_one_cell.job, query) as stream:
        assert [error["extensions"]["code"] for error in (await stream.next())["errors"]] == [code]
        assert await stream.read() == ("complete", None)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"query":1}', b'{"query":"{a}","variables":[]}'])
async def test_what_is_no_request_is_refused_before_the_stream(people_of_one_cell: People, body: bytes) -> None:
    answer = await send(people_of_one_cell.job, body, headers={"Content-Type": JSON, "Accept": EVENTS})
    expect_refusal(answer, 400, "BAD_REQUEST")


@pytest.mark.parametrize("credentials", ["Bearer x", "Basic x", ""])
async def test_credentials_that_do_not_hold_are_refused_before_the_stream(
    people_of_one_cell: People, credentials: str
) -> None:
    async with open_stream(people_of_one_cell.job, LIVE, headers={"Authorization": credentials}) as stream:
        assert stream.response.status == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_pages_of_other_origins_open_no_stream(people_of_one_cell: People, origin: str) -> None:
    async with open_stream(people_of_one_cell.job, LIVE, headers={"Origin": origin}) as stream:
        assert stream.response.status == 403
        assert "Access-Control-Allow-Origin" not in stream.response.headers


async def test_a_stream_ends_with_its_token(people_of_one_cell: People) -> None:
    person = people_of_one_cell.take()
    token = sign(people_of_one_cell.key, claims_of(person.id, exp=claims_of(person.id)["iat"] + 3))  # type: ignore[operator]
    async with open_stream(people_of_one_cell.job, LIVE, token) as stream:
        assert (await stream.next())["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert await stream.read() == ("complete", None)
