"""How long operations may take, what the client may say about it, and how one of which nothing was done shows."""

from typing import Any

import pytest
from graphql import OperationType

from transport.bodies import BadRequest
from transport.patience import Patience, undone

PATIENCE = Patience(query=5, mutation=10)


def failed(code: str, **extensions: object) -> dict[str, Any]:
    return {"message": "", "extensions": {"code": code, **extensions}}


def test_a_client_can_shorten_its_time_and_not_prolong_it() -> None:
    assert PATIENCE.of(OperationType.QUERY) == 5
    assert PATIENCE.of(OperationType.MUTATION) == 10
    assert PATIENCE.of(OperationType.QUERY, "0.25") == 0.25
    assert PATIENCE.of(OperationType.QUERY, "7") == 5


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1e999", "5 s", "soon", "٣", "1_0", "1e1", "9999999"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        PATIENCE.of(OperationType.QUERY, text)


def test_an_operation_of_which_nothing_was_done_is_503_and_says_when_to_come_again() -> None:
    error = failed("OVERLOADED", retryAfter=1.5)
    for data in ({"data": None}, {"data": {"user": None, "me": None}}, {}):
        found = undone({"errors": [error, error], **data})
        assert found is not None
        assert (found.status, found.headers, found.response) == (503, {"Retry-After": "2"}, {"errors": [error, error]})


def test_one_that_ran_out_of_time_is_504() -> None:
    found = undone({"errors": [failed("DEADLINE_EXCEEDED")], "data": {"user": None}})
    assert found is not None
    assert (found.status, found.headers) == (504, {})


@pytest.mark.parametrize(
    "response",
    [
        {"data": {"user": None}},
        {"errors": [failed("OVERLOADED")], "data": {"user": {"followers": None}}},
        {"errors": [failed("OVERLOADED"), failed("INTERNAL_SERVER_ERROR")], "data": {"user": None}},
        {"errors": [failed("UNAUTHENTICATED")], "data": None},
    ],
)
def test_a_partial_answer_and_any_other_error_stay_what_they_are(response: dict[str, Any]) -> None:
    assert undone(response) is None
