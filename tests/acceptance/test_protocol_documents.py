"""Documents and values that would cost too much, tell too much or mean nothing."""

import json
from collections.abc import AsyncIterator
from typing import Final

import pytest

from tests.acceptance.doors import DOORS, ask_by
from tests.acceptance.main_job import MainJob
from tests.acceptance.people import People
from tests.acceptance.probes import GRAPHQL, JSON, expect_refusal, expect_service, send, send_json
from tests.hostile import HOSTILE


@pytest.fixture
async def job(people_of_one_cell: People) -> AsyncIterator[MainJob]:
    """Give the run, which must answer after whatever a test has sent."""
    yield people_of_one_cell.job
    await expect_service(people_of_one_cell.job)


async def expect_refused(job: MainJob, query: str, status: int = 400, **fields: object) -> list[str]:
    answer = await send_json(job, GRAPHQL, query=query, **fields)
    expect_refusal(answer, status)
    return answer.codes


def fan_out(levels: int, width: int) -> str:
    """Give a short document that spreads to width to the power of levels fields."""
    spreads = "\n".join(
        f"fragment F{n} on User {{ {' '.join(f'...F{n + 1}' for _ in range(width))} }}" for n in range(levels)
    )
    return f"{{ me {{ ...F0 }} }} {spreads} fragment F{levels} on User {{ id }}"


FOLLOW: Final = 'followUser(input: {userId: "x"}) { clientMutationId }'
LONGEST_ADDRESS: Final = 4_000
REFUSED: Final = {
    "a syntax error": ("{", "GRAPHQL_PARSE_FAILED"),
    "only a comment": ("# nothing", "GRAPHQL_PARSE_FAILED"),
    "an unknown field": ("{ passwordHash }", "GRAPHQL_VALIDATION_FAILED"),
    "no document of operations": ("type A { b: Int }", "GRAPHQL_VALIDATION_FAILED"),
    "5000 nested fields": ("{a" * 5000, "GRAPHQL_PARSE_FAILED"),
    "300 nested fields": ("{ me " * 300 + "{ id }" + "}" * 300, None),
    "levels beyond the limit": (
        "{ me { " + "followers(first: 1) { nodes { " * 7 + "id" + " } }" * 7 + " } }",
        "QUERY_TOO_DEEP",
    ),
    "a fragment of itself": ("{ me { ...A } } fragment A on User { ...A }", "GRAPHQL_VALIDATION_FAILED"),
    "two fragments of each other": (
        "{ me { ...A } } fragment A on User { ...B } fragment B on User { ...A }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "100 aliases": ("{ " + " ".join(f"a{n}: __typename" for n in range(100)) + " }", "TOO_MANY_ALIASES"),
    "20 mutations at once": (
        "mutation { " + " ".join(f"a{n}: {FOLLOW}" for n in range(20)) + " }",
        "QUERY_TOO_COMPLEX",
    ),
    "100 aliases in a fragment": (
        "{ ...A } fragment A on Query { " + " ".join(f"a{n}: __typename" for n in range(100)) + " }",
        "TOO_MANY_ALIASES",
    ),
    "a wide tree": (
        "{ me { " + "followers(first: 100) { nodes { " * 3 + "id" + " } }" * 3 + " } }",
        "QUERY_TOO_COMPLEX",
    ),
    "two operations and no choice": ("query A { __typename } query B { __typename }", "OPERATION_RESOLUTION_FAILURE"),
    "a million characters of comment": ("#" + "x" * 60_000 + "\n{ __typename }" * 400, None),
    "deferred parts": ("{ me { ... @defer { id } } }", "GRAPHQL_VALIDATION_FAILED"),
    "streamed parts": ("{ users(usernames: []) @stream { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "an unknown directive": ("{ __typename @log(x: 1) }", "GRAPHQL_VALIDATION_FAILED"),
    "a number beyond an int": ('{ user(username: "star") { followers(first: 2147483648) { totalCount } } }', None),
    "a fraction for an int": ('{ user(username: "star") { followers(first: 1.5) { totalCount } } }', None),
    "infinity for an int": ('{ user(username: "star") { followers(first: 1e999) { totalCount } } }', None),
    "an enum in another case": (
        '{ user(username: "star") { followers(first: 1, orderBy: newest_first) { totalCount } } }',
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "a string for an enum": (
        '{ user(username: "star") { followers(first: 1, orderBy: "NEWEST_FIRST") { totalCount } } }',
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "an object for an id": ("{ node(id: {a: 1}) { id } }", "GRAPHQL_VALIDATION_FAILED"),
    "two roots of a subscription": (
        "subscription { a: followReceived { id } b: followReceived { id } }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_document_is_refused_soon(job: MainJob, what: str) -> None:
    query, code = REFUSED[what]
    codes = await expect_refused(job, query)
    assert code is None or set(codes) == {code}


@pytest.mark.parametrize("what", [what for what, (query, _) in REFUSED.items() if len(query) < LONGEST_ADDRESS])
async def test_every_door_refuses_in_the_same_words(job: MainJob, what: str) -> None:
    query, code = REFUSED[what]
    said = [(await ask_by(door, job, query=query))["errors"] for door in DOORS]
    assert said == [said[0]] * len(DOORS)
    assert code is None or {error["extensions"]["code"] for error in said[0]} == {code}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_document_gets_an_answer_and_so_does_the_next_request(job: MainJob, what: str) -> None:
    answer = await send_json(job, GRAPHQL, query=HOSTILE[what])
    assert answer.status in (200, 400, 413)
    assert answer.status == 200 or "data" not in answer.json
    assert b"INTERNAL_SERVER_ERROR" not in answer.body


async def test_under_the_older_media_type_a_bad_document_answers_200_without_data(job: MainJob) -> None:
    expect_refusal(await send_json(job, JSON, query="{"), 200, "GRAPHQL_PARSE_FAILED")


@pytest.mark.parametrize(("levels", "width"), [(12, 3), (20, 8), (200, 1)])
async def test_fragments_that_spread_fragments_cost_no_time(job: MainJob, levels: int, width: int) -> None:
    answer = await send_json(job, GRAPHQL, query=fan_out(levels, width))
    assert answer.status in (200, 400)


@pytest.mark.parametrize(
    "query",
    [
        "{ " + "__typename " * 450 + "}",
        "{ " + "me { id } " * 200 + "}",
        "{ " + "me { followers(first: 1) { nodes { following(first: 1) { nodes { id } } } } } " * 30 + "}",
    ],
    ids=["fields", "objects", "lists"],
)
async def test_the_same_field_many_times_costs_no_time(job: MainJob, query: str) -> None:
    answer = await send_json(job, GRAPHQL, query=query)
    assert answer.status in (200, 400)


@pytest.mark.parametrize(
    "query",
    [
        "#" + "x" * 1_000_000 + "\n{ __typename }",
        '{ user(username: "' + "x" * 1_000_000 + '") { id } }',
        " " * 1_000_000 + "{ __typename }",
        "query " + "x" * 200_000 + " { __typename }",
        "{ " + "x" * 200_000 + " }",
    ],
    ids=["comment", "string", "whitespace", "name", "field"],
)
async def test_a_very_large_document_is_refused_soon(job: MainJob, query: str) -> None:
    await expect_refused(job, query, 413)


@pytest.mark.parametrize(
    "query",
    [
        "#" + "x" * 100_000 + "\n{ __typename }",
        "query " + "x" * 100_000 + " { __typename }",
        " " * 100_000 + "{ __typename }",
    ],
    ids=["comment", "name", "whitespace"],
)
async def test_a_large_document_is_refused_soon(job: MainJob, query: str) -> None:
    await expect_refused(job, query)


@pytest.mark.parametrize("variables", [{}, {"v": None}, {"v": "true"}, {"v": 1}, {"v": []}])
async def test_a_condition_needs_a_truth_value(job: MainJob, variables: dict[str, object]) -> None:
    query = "query($v: Boolean!) { __typename @include(if: $v) }"
    assert await expect_refused(job, query, variables=variables) == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("name", ["B", "", " ", "a"])
async def test_an_operation_is_chosen_by_its_name(job: MainJob, name: str) -> None:
    query = "query A { __typename } query C { __typename }"
    codes = await expect_refused(job, query, operationName=name)
    assert codes == ["OPERATION_RESOLUTION_FAILURE"]


@pytest.mark.parametrize(
    "variables",
    [
        {"first": 2**31},
        {"first": 1.5},
        {"first": "1"},
        {"first": True},
        {"first": 1, "orderBy": "newest_first"},
        {"first": 1, "orderBy": 0},
        {"first": 1, "name": 1},
        {"first": 1, "name": []},
    ],
    ids=repr,
)
async def test_a_variable_of_another_type_is_refused(job: MainJob, variables: dict[str, object]) -> None:
    query = """query($name: String = "star", $first: Int, $orderBy: FollowOrder! = NEWEST_FIRST) {
      user(username: $name) { followers(first: $first, orderBy: $orderBy) { totalCount } } }"""
    assert await expect_refused(job, query, variables=variables) == ["BAD_USER_INPUT"]


BEYOND: Final = ["first: 99999999", "first: 101", "first: 0", "first: -1", "last: 0", "last: 101", "first: 1, last: 1"]
PAGES: Final = [*BEYOND, "", 'last: 1, after: "x"', 'first: 1, before: "x"']


@pytest.mark.parametrize("arguments", PAGES)
async def test_a_page_that_cannot_be_is_bad_input_and_no_data(job: MainJob, arguments: str) -> None:
    inside = f"followers({arguments}) {{ totalCount }}" if arguments else "followers { totalCount }"
    answer = await send_json(job, JSON, query=f'{{ user(username: "star") {{ {inside} }} }}')
    assert answer.codes == ["BAD_USER_INPUT"]
    assert not (answer.json.get("data") or {}).get("user", {}).get("followers")


@pytest.mark.parametrize("arguments", BEYOND)
async def test_a_page_beyond_the_bounds_is_refused_before_anything_is_read(job: MainJob, arguments: str) -> None:
    await expect_refused(job, f'{{ user(username: "star") {{ followers({arguments}) {{ totalCount }} }} }}')


async def test_no_error_names_fields_that_were_not_asked_for(job: MainJob) -> None:
    for query in (
        "{ mee { id } }",
        "{ me { usernam } }",
        "{ user(usernam: 1) { id } }",
        "query($v: Boolen) { me { id } }",
    ):
        answer = await send_json(job, GRAPHQL, query=query)
        assert b"Did you mean" not in answer.body
        expect_refusal(answer, 400)


async def test_what_a_client_puts_elsewhere_is_ignored(job: MainJob) -> None:
    fields = {
        "query": "{ me { id } }",
        "extensions": {"userId": "1", "role": "admin"},
        "user": 1,
        "__proto__": {"a": 1},
    }
    answer = await send(job, json.dumps(fields).encode())
    assert (answer.status, answer.json) == (200, {"data": {"me": None}})
