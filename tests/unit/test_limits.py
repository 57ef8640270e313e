"""Limits on documents, and what it costs to find them."""

import time

import pytest
from graphql import GraphQLError, parse

from execution.documents import MAX_REMEMBERED, Documents
from execution.limits import check_limits
from schema.schema import SCHEMA


def code_of(text: str) -> str | None:
    error = check_limits(parse(text))
    return None if error is None else str((error.extensions or {})["code"])


def nested(depth: int) -> str:
    return "{" + "a{" * (depth - 1) + "b" + "}" * depth


@pytest.mark.parametrize(("depth", "code"), [(12, None), (13, "QUERY_TOO_DEEP")])
def test_depth_has_a_limit(depth: int, code: str | None) -> None:
    assert code_of(nested(depth)) == code


@pytest.mark.parametrize(("count", "code"), [(30, None), (31, "TOO_MANY_ALIASES")])
def test_aliases_have_a_limit_and_fragments_do_not_hide_them(count: int, code: str | None) -> None:
    aliases = " ".join(f"x{number}: a" for number in range(count))
    assert code_of(f"{{ {aliases} }}") == code
    assert code_of(f"{{ ...F }} fragment F on Query {{ {aliases} }}") == code


@pytest.mark.parametrize(("count", "code"), [(10, None), (11, "QUERY_TOO_COMPLEX")])
def test_mutations_in_one_request_have_a_limit(count: int, code: str | None) -> None:
    assert code_of(f"mutation {{ {'a ' * count} }}") == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{ f(first: 100) { e { n } } }", None),
        ("{ f(first: 100) { f(first: 100) { n } } }", None),
        ("{ f(first: 100) { f(first: 100) { f(first: 100) { n } } } }", "QUERY_TOO_COMPLEX"),
        ("query($n: Int) { f(first: $n) { f(first: $n) { f(last: $n) { n } } } }", "QUERY_TOO_COMPLEX"),
        ("{ users(ids: []) { f(first: 100) { f(first: 3) { n } } } }", "QUERY_TOO_COMPLEX"),
        ("{ f(first: 99999999) { n } }", "BAD_USER_INPUT"),
        ("{ f(first: 101) { n } }", "BAD_USER_INPUT"),
        ("{ f(first: 0) { n } }", "BAD_USER_INPUT"),
        ("{ f(last: -5) { n } }", "BAD_USER_INPUT"),
        ("{ f(first: 5, last: 5) { n } }", "BAD_USER_INPUT"),
        ("query($n: Int) { f(first: $n, last: 5) { n } }", None),
    ],
)
def test_the_people_that_a_query_could_reach_have_a_limit(text: str, code: str | None) -> None:
    assert code_of(text) == code


def bomb(width: int, levels: int) -> str:
    fragments = " ".join(f"fragment F{level} on User {{ {f'...F{level + 1} ' * width} }}" for level in range(levels))
    return f"{{ me {{ ...F0 }} }} {fragments} fragment F{levels} on User {{ id }}"


HOSTILE = {
    "fan-out 3 wide, 12 deep": bomb(3, 12),
    "fan-out 8 wide, 20 deep": bomb(8, 20),
    "5,000 open braces": "{" + "a{" * 5000,
    "one field 140 times": "{ " + "me { id } " * 140 + "}",
    "a long comment": "#" + "x" * 1_000_000 + "\n{ me { id } }",
    "a long string": '{ user(username: "' + "x" * 1_000_000 + '") { id } }',
    "a long name": "{ " + "x" * 200_000 + " }",
    "a lot of space": " " * 1_000_000 + "{ me { id } }",
    "a fragment cycle": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_document_is_refused_or_harmless_at_little_cost(text: str) -> None:
    documents = Documents(SCHEMA._schema, introspection=True)
    started = time.process_time()
    documents.get(text)
    assert time.process_time() - started < 1.0  # the worst takes 0.03 s; stock limiters take 3 s for the first


def test_only_valid_documents_are_remembered_and_not_for_ever() -> None:
    documents = Documents(SCHEMA._schema, introspection=True)
    first = documents.get("{ me { id } }")
    assert documents.get("{ me { id } }") is first
    assert isinstance(documents.get("{ nothing }"), list)
    for number in range(MAX_REMEMBERED):
        documents.get(f"query Q{number} {{ me {{ id }} }}")
    assert documents.get("{ me { id } }") is not first


def test_introspection_can_be_off_and_suggestions_always_are() -> None:
    hidden = refusals(Documents(SCHEMA._schema, introspection=False), "{ __schema { types { name } } }")
    assert {(error.extensions or {})["code"] for error in hidden} == {"INTROSPECTION_DISABLED"}
    [error] = refusals(Documents(SCHEMA._schema, introspection=True), "{ mee { id } }")
    assert "Did you mean" not in error.message


def refusals(documents: Documents, text: str) -> list[GraphQLError]:
    found = documents.get(text)
    assert isinstance(found, list)
    return found
