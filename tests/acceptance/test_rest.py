"""REST `/v1`: the same people, decisions and codes as in GraphQL, over plain addresses."""

import json
from typing import Any, Final

import aiohttp
import pytest

from tests.acceptance.people import ANSWER_WITHIN_S, Answer, People, Person
from transport.openapi import document
from transport.rest import PERSON, ROUTES

PROBLEM: Final = "application/problem+json"
NOWHERE: Final = "A" * 22


async def call(person: Person, method: str, path: str, *, json: object = None, **headers: str) -> Answer:
    """Send one request."""
    origin = person.job.url.removesuffix("/graphql")
    sent = {**person.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)) as session,
        session.request(method, origin + path, headers=sent, json=json) as response,
    ):
        return Answer(response.status, response.headers.copy(), await response.read())


def expect_problem(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (status, PROBLEM)
    assert (answer.json["status"], answer.json["code"]) == (status, code)
    assert answer.json["detail"]
    assert answer.headers["X-Request-Id"]


async def in_graphql(asker: Person, username: str) -> Any:
    found = await asker.ask(
        f"query($name: String!) {{ user(username: $name) {{ ...Person }} }} {PERSON}", name=username
    )
    return found["user"]


@pytest.mark.parametrize("name", ["ana", "bo", "star", "eve"])
async def test_a_person_is_the_same_here_and_in_graphql(people: People, name: str) -> None:
    for asker in (people.ana, people.eve, people.anonymous):
        answer = await call(asker, "GET", f"/v1/users/{name}")
        assert answer.status == 200
        assert answer.json == await in_graphql(asker, name)
        assert answer.headers["Vary"] == "Authorization"
        assert answer.headers["Cache-Control"] == "private, no-store"


async def test_whoever_is_hidden_gives_the_bytes_of_whoever_never_was(people: People) -> None:
    nobody = await call(people.ana, "GET", "/v1/users/nobody.here")
    expect_problem(nobody, 404, "USER_UNAVAILABLE")
    for asker, hidden in ((people.ana, "dee"), (people.cy, "ana"), (people.ana, "gone")):
        answer = await call(asker, "GET", f"/v1/users/{hidden}")
        assert (answer.status, answer.body) == (nobody.status, nobody.body)
        assert set(answer.headers) == set(nobody.headers)


async def test_what_has_not_changed_is_not_sent_again(people: People) -> None:
    first = await call(people.ana, "GET", "/v1/users/me")
    assert first.json["username"] == "ana"
    again = await call(people.ana, "GET", "/v1/users/me", If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    for known in (f'"a", W/{first.headers["ETag"]}', "*"):
        assert (await call(people.ana, "GET", "/v1/users/me", If_None_Match=known)).status == 304
    other = await call(people.ana, "GET", "/v1/users/me", If_None_Match='"another"')
    assert other.status == 200


@pytest.mark.parametrize("name", ["ana", "nobody.here"])
async def test_the_head_of_an_answer_is_that_of_the_answer(people: People, name: str) -> None:
    shown, head = [await call(people.ana, method, f"/v1/users/{name}") for method in ("GET", "HEAD")]
    assert (head.status, head.body) == (shown.status, b"")
    assert {name: head.headers[name] for name in ("Content-Type", "Content-Length", "Cache-Control")} == {
        name: shown.headers[name] for name in ("Content-Type", "Content-Length", "Cache-Control")
    }


async def test_following_twice_gives_the_identical_answer_and_so_does_taking_it_back(people: People) -> None:
    one, other = people.take(), people.take()
    for method, following in (("POST", True), ("DELETE", False)):
        first, again = [await call(one, method, f"/v1/social/follow/{other.id}") for _ in range(2)]
        assert (first.status, first.body) == (again.status, again.body)
        assert first.status == 200
        assert first.json["viewerIsFollowing"] is following
        token = first.headers["X-Consistency-Token"]
        seen = await call(one, "GET", f"/v1/users/{other.name}", X_Consistency_Token=token)
        assert seen.json == first.json


async def test_a_request_to_follow_that_waits_is_accepted_for_later(people: People) -> None:
    one = people.take()
    answer = await call(one, "POST", f"/v1/social/follow/{people.bo.id}")
    assert answer.status == 202
    assert answer.json["viewerFollowState"] == "PENDING"
    assert (await call(one, "DELETE", f"/v1/social/follow/{people.bo.id}")).status == 200


async def test_a_block_hides_and_can_have_an_end(people: People) -> None:
    one, other = people.take(), people.take()
    until = {"expiresAt": "2999-01-01T00:00:00Z"}
    assert (await call(one, "POST", f"/v1/social/block/{other.id}", json=until)).json["viewerHasBlocked"] is True
    expect_problem(await call(other, "GET", f"/v1/users/{one.name}"), 404, "USER_UNAVAILABLE")
    expect_problem(await call(other, "POST", f"/v1/social/follow/{one.id}"), 404, "USER_UNAVAILABLE")
    assert (await call(one, "DELETE", f"/v1/social/block/{other.id}")).json["viewerHasBlocked"] is False


async def test_what_cannot_be_done_says_why(people: People) -> None:
    ana, nobody = people.ana, people.anonymous
    expect_problem(await call(ana, "POST", f"/v1/social/follow/{ana.id}"), 422, "CANNOT_TARGET_SELF")
    expect_problem(await call(ana, "POST", f"/v1/social/follow/{NOWHERE}"), 404, "USER_UNAVAILABLE")
    expect_problem(await call(nobody, "POST", f"/v1/social/follow/{ana.id}"), 401, "UNAUTHENTICATED")
    expect_problem(await call(nobody, "GET", "/v1/users/me"), 401, "UNAUTHENTICATED")
    expect_problem(await call(nobody, "GET", "/v1/users/me", Authorization="Bearer x"), 401, "UNAUTHENTICATED")
    expect_problem(await call(ana, "GET", "/v1/users/ana?first=1"), 400, "BAD_REQUEST")
    expect_problem(await call(ana, "PUT", "/v1/users/ana"), 405, "BAD_REQUEST")
    expect_problem(await call(ana, "GET", "/v1/nothing"), 404, "BAD_REQUEST")
    past, wrong = {"expiresAt": "2001-01-01T00:00:00Z"}, {"expiresAt": "soon"}
    expect_problem(await call(ana, "POST", f"/v1/social/block/{people.eve.id}", json=past), 422, "INVALID_VALUE")
    for until in (wrong, {"expiresAt": "2999-01-01T00:00:00"}, {"expiresAt": "9999-12-31T23:59:59-23:59"}):
        expect_problem(await call(ana, "POST", f"/v1/social/block/{people.eve.id}", json=until), 400, "BAD_USER_INPUT")
    expect_problem(await call(ana, "POST", f"/v1/social/block/{people.eve.id}", json=[1]), 400, "BAD_REQUEST")
    expect_problem(await call(ana, "POST", f"/v1/social/follow/{people.eve.id}", json=past), 400, "BAD_REQUEST")


async def test_fields_that_are_not_known_are_refused_without_repeating_their_names(people: People) -> None:
    slipped = {"expiresAt": None, "1990-01-31": "birthDate"}
    for path, said in (
        ("block", "The body may have no fields but `expiresAt`."),
        ("follow", "The body may have no fields here."),
    ):
        answer = await call(people.ana, "POST", f"/v1/social/{path}/{people.eve.id}", json=slipped)
        expect_problem(answer, 400, "BAD_REQUEST")
        assert answer.json["detail"] == said


@pytest.mark.parametrize("name", ["me", "ME", "m.e", "m_e", "\uff4d\uff45"])
async def test_no_look_alike_of_me_is_a_name(people: People, name: str) -> None:
    answer = await call(people.ana, "GET", f"/v1/users/{name}")
    assert answer.status == (200 if name == "me" else 404)


async def test_the_openapi_document_is_served_and_names_every_route(people: People) -> None:
    answer = await call(people.anonymous, "GET", "/v1/openapi.json")
    assert answer.json == json.loads(json.dumps(document()))
    served = {(method.upper(), path) for path, methods in answer.json["paths"].items() for method in methods}
    assert served == {(route.method, route.path) for route in ROUTES}
    ana = (await call(people.ana, "GET", "/v1/users/ana")).json
    assert set(ana) == set(answer.json["components"]["schemas"]["User"]["properties"])
