"""Bodies, media types and logs: strict in, plain out."""

import json
import logging

import pytest
from graphql import GraphQLError

from execution.errors import present_error
from logs import JsonFormatter
from transport.bodies import BadRequest, decode_object, request_of
from transport.negotiation import GRAPHQL_RESPONSE, JSON, negotiate, wants_page


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("application/graphql-response+json", GRAPHQL_RESPONSE),
        ("application/graphql-response+json, application/json;q=0.9", GRAPHQL_RESPONSE),
        ("application/json, application/graphql-response+json", JSON),
        ("application/graphql-response+json;q=0.5, application/json;q=0.4", GRAPHQL_RESPONSE),
        ("application/json;q=0, */*", GRAPHQL_RESPONSE),
        ("text/html, */*;q=0.1", JSON),
        ("APPLICATION/JSON", JSON),
        ("text/html", None),
        ("application/json;q=0", None),
        ("image/*", None),
    ],
)
def test_the_answer_has_the_type_that_the_client_prefers(accept: str | None, expected: str | None) -> None:
    assert negotiate(accept) == expected


def test_only_who_names_html_gets_the_page() -> None:
    assert wants_page("text/html,application/xhtml+xml,*/*;q=0.8")
    assert not wants_page("*/*")
    assert not wants_page("application/json, text/html;q=0")
    assert not wants_page(None)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"1", b'"s"', b"[1]", b"{", b'{"a":\xff}', b"[" * 100_000, b'{"a":NaN}', b'{"a":Infinity}',
     b'{"a":-Infinity}', b'{"a":1e400}', b'{"a":[-1E+999]}',
     b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', b'{"a":{"b":1,"b":2}}', b'{"a":' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}",
     b'{"a":"\\ud800"}', b'{"\\uDFFF":1}', b'{"a":["\\udc00\\ud800"]}'],
    ids=lambda body: repr(body)[:30],
)  # fmt: skip
def test_a_body_that_is_not_one_strict_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_object(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "line 1, column 1"),
        (b'{"a":1,\n "b" 2}', "line 2, column 6"),
        (b'{"a":"\xff"}', "not UTF-8: look at byte 6"),
        (b'{"a":{"b":1,"b":2}}', "a key twice"),
        (b'{"a":-Infinity}', "an infinity"),
        (b'{"a":1e400}', "too large a number"),
        (b'{"a":' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a":"\\ud800"}', "half a surrogate pair"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b"[]", "not a JSON object"),
    ],
)
def test_it_is_said_why_and_where_a_body_cannot_be_read(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        decode_object(body)


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert decode_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "\U0001f600"}


WRONG: dict[str, list[object]] = {
    "query": [0, False, [], {}, None, "", "  \n"],
    "operationName": [1, [], {}, True],
    "variables": [1, [], "", True],
    "extensions": [1, [], "", True],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_request_with_fields_of_other_types_is_refused(name: str, value: object) -> None:
    with pytest.raises(BadRequest):
        request_of({"query": "{a}", name: value})


def test_a_log_line_is_one_line_and_holds_no_exception_text() -> None:
    with pytest.raises(ValueError, match="words") as caught:
        int("a person's words")
    record = logging.LogRecord("kith", logging.ERROR, __file__, 1, "a\nb\x1b[31m", (), caught._excinfo)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    assert "words" not in line
    assert json.loads(line)["exception"] == "ValueError"


def test_an_unexpected_error_is_masked(caplog: pytest.LogCaptureFixture) -> None:

    shown = present_error(GraphQLError("boom", original_error=RuntimeError("hunter2")))
    assert shown["message"] == "Internal error."
    assert shown["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert shown["extensions"]["errorId"] in caplog.text
    assert "hunter2" not in caplog.text
