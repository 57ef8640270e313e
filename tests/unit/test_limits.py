"""Limits on documents, and what it costs to find them."""

from typing import Any, Final, cast

import pytest
from graphql import GraphQLError, parse

from execution.documents import MAX_REMEMBERED, Documents, Prepared
from execution.engine import Engine, GraphQLRequest, Operation, Response
from execution.limits import check_before_validation, check_values
from schema.fields import OperationContext
from schema.schema import GRAPHQL_SCHEMA, SCHEMA
from tests.hostile import HOSTILE, HOSTILE_VARIABLES
from tests.work import calls_of

CONTEXT: Final = OperationContext(cast("Any", None))
"""What is only prepared looks at nothing."""
DOCUMENTS: Final = Documents(GRAPHQL_SCHEMA, introspection=False)


def code_of(text: str) -> str | None:
    """Give why a document is too large, if it is; it need not be valid."""
    found = DOCUMENTS._measured(parse(text))
    return None if isinstance(found, Prepared) else str((found[0].extensions or {})["code"])


def told(text: str, **variables: object) -> str | int:
    """Give what an operation costs, or why it is refused."""
    prepared = Engine(GRAPHQL_SCHEMA, introspection=False).prepare(GraphQLRequest(text, variables=variables), CONTEXT)
    if isinstance(prepared, Operation):
        return prepared.estimate.cost
    return str(prepared["errors"][0]["extensions"]["code"])


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


@pytest.mark.parametrize(("count", "code"), [(998, "QUERY_TOO_COMPLEX"), (999, "GRAPHQL_PARSE_FAILED")])
def test_a_document_is_not_parsed_beyond_a_thousand_tokens(count: int, code: str) -> None:
    assert told(f"{{ {'a ' * count} }}") == code


@pytest.mark.parametrize(("count", "code"), [(10, None), (11, "QUERY_TOO_COMPLEX")])
def test_mutations_in_one_request_have_a_limit(count: int, code: str | None) -> None:
    assert code_of(f"mutation {{ {'a ' * count} }}") == code


@pytest.mark.parametrize(
    "page",
    [
        "followers(first: 99999999)",
        "followers(first: 101)",
        "followers(first: 0)",
        "followers(last: -5)",
        "followers(first: 5, last: 5)",
    ],
)
def test_a_page_that_there_cannot_be_is_refused(page: str) -> None:
    assert told(f"{{ me {{ {page} {{ totalCount }} }} }}") == "BAD_USER_INPUT"


@pytest.mark.parametrize(("times", "code"), [(40, None), (41, "QUERY_TOO_COMPLEX")])
def test_the_fields_of_fragments_count_as_often_as_they_are_spread(times: int, code: str | None) -> None:
    assert code_of(f"{{ {'...F ' * times} }} fragment F on Query {{ {'a ' * 50} }}") == code


@pytest.mark.parametrize(("times", "code"), [(50, None), (51, "QUERY_TOO_COMPLEX")])
@pytest.mark.parametrize("what", ["a @d", "... @d { a }", "...F @d", "...G"])
def test_directives_have_a_limit_wherever_they_stand(what: str, times: int, code: str | None) -> None:
    fragments = "fragment F on Query { a } fragment G on Query @d { a }"
    assert code_of(f"{{ {f'{what} ' * times} }} {fragments}") == code


@pytest.mark.parametrize(("count", "code"), [(50, None), (51, "QUERY_TOO_COMPLEX")])
def test_objects_of_one_name_have_a_limit_in_all_of_a_document(count: int, code: str | None) -> None:
    for document in (
        f"{{ {'me { id } ' * count} }}",
        "{ "
        + "...F " * 2
        + f"{'me { id } ' * (count - 1)} }} fragment F on Query {{ ... on Query {{ me {{ id }} }} }}",
        "{ " + "me: user { id } " * count + "}",
    ):
        error = check_before_validation(parse(document))
        assert (None if error is None else (error.extensions or {})["code"]) == code


@pytest.mark.parametrize(("count", "code"), [(200, None), (201, "QUERY_TOO_COMPLEX")])
def test_leaves_of_one_name_have_a_limit_in_all_of_a_document(count: int, code: str | None) -> None:
    for document in (
        f"{{ {'a ' * count} }}",
        f"{{ {'a ' * 100} ...F }} fragment F on Query {{ {'a ' * (count - 100)} }}",
    ):
        error = check_before_validation(parse(document))
        assert (None if error is None else (error.extensions or {})["code"]) == code
    apart = " ".join(f"a{number}: x" for number in range(300))
    assert check_before_validation(parse(f"{{ {apart} }}")) is None


@pytest.mark.parametrize(("count", "code"), [(60, None), (61, "QUERY_TOO_COMPLEX")])
def test_fragments_have_a_limit(count: int, code: str | None) -> None:
    fragments = " ".join(f"fragment F{number} on User {{ id }}" for number in range(count))
    error = check_before_validation(parse(f"{{ me {{ id }} }} {fragments}"))
    assert (None if error is None else (error.extensions or {})["code"]) == code


@pytest.mark.parametrize(("count", "code"), [(30, None), (31, "QUERY_TOO_COMPLEX")])
def test_operations_with_fragments_have_a_limit(count: int, code: str | None) -> None:
    fragments = " ".join(f"fragment F{number} on User {{ id }}" for number in range(10))
    operations = " ".join(f"query Q{number} {{ me {{ id }} }}" for number in range(count))
    error = check_before_validation(parse(f"{operations} {fragments}"))
    assert (None if error is None else (error.extensions or {})["code"]) == code


@pytest.mark.parametrize(("count", "code"), [(100, None), (101, "QUERY_TOO_COMPLEX")])
def test_directives_have_a_limit_before_anybody_looks_at_them(count: int, code: str | None) -> None:
    error = check_before_validation(parse(f"query {'@d ' * 10}{{ a {'@d ' * (count - 10)} }}"))
    assert (None if error is None else (error.extensions or {})["code"]) == code


@pytest.mark.parametrize(("count", "code"), [(2500, None), (2501, "BAD_USER_INPUT")])
def test_the_values_of_variables_have_a_limit_wherever_they_are(count: int, code: str | None) -> None:
    nested: list[object] = [1] * (count // 2 - 1)
    for variables in (
        {f"v{number}": number for number in range(count)},
        {"v": ["x"] * (count - 1)},
        {"v": [{"a": nested}], "w": [1] * (count - len(nested) - 4)},
    ):
        error = check_values(variables)
        assert (None if error is None else (error.extensions or {})["code"]) == code


MAX_CALLS: Final = 270_000
"""Calls of functions that a hostile document may cause: less than 40 ms."""
MAX_SAID: Final = 2_000
"""Characters of all messages together."""


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_document_costs_little_and_the_next_is_answered(what: str) -> None:
    engine = Engine(GRAPHQL_SCHEMA, introspection=False)
    prepared: list[Operation | Response] = []
    for _ in range(3):  # from the second time on what is allowed gets a plan, which is compiled for it
        assert calls_of(lambda: prepared.append(engine.prepare(GraphQLRequest(HOSTILE[what]), CONTEXT))) < MAX_CALLS
        if not isinstance(prepared[-1], Operation):
            break  # what is refused is refused anew each time
    for one in prepared:
        if not isinstance(one, Operation):
            codes = {error["extensions"]["code"] for error in one["errors"]}
            assert "INTERNAL_SERVER_ERROR" not in codes
            assert sum(len(error["message"]) for error in one["errors"]) < MAX_SAID
    assert isinstance(engine.prepare(GraphQLRequest("{ __typename }"), CONTEXT), Operation)


@pytest.mark.parametrize("what", HOSTILE_VARIABLES)
def test_hostile_variables_cost_little(what: str) -> None:
    engine, (query, variables) = Engine(GRAPHQL_SCHEMA, introspection=False), HOSTILE_VARIABLES[what]
    prepared: list[Operation | Response] = []
    for _ in range(3):
        request = GraphQLRequest(query, variables=variables)
        assert calls_of(lambda request=request: prepared.append(engine.prepare(request, CONTEXT))) < MAX_CALLS  # type: ignore[misc]
    assert [told_code(one) for one in prepared] == ["BAD_USER_INPUT"] * 3


def told_code(prepared: Operation | Response) -> str | None:
    return None if isinstance(prepared, Operation) else str(prepared["errors"][0]["extensions"]["code"])


@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize(
    "text",
    ["2999-01-01T00:00:00", "2999-01-01", "2999-W01-1", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
     "2999-01-01T00:00:00+99:99", "2999-13-01T00:00:00Z", "\u0662\u0660\u0663\u0660-01-01T00:00:00Z", "soon", ""],
)  # fmt: skip
def test_an_instant_that_is_none_is_refused_before_anything_runs(text: str, *, literal: bool) -> None:
    declared, value = ("", f'"{text}"') if literal else ("($e: DateTime)", "$e")
    block = f'mutation{declared} {{ blockUser(input: {{userId: "x", expiresAt: {value}}}) {{ clientMutationId }} }}'
    assert told(block, e=text) == ("GRAPHQL_VALIDATION_FAILED" if literal else "BAD_USER_INPUT")


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
