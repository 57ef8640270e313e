"""The contract with other services: whole, valid by AsyncAPI's own schema, and true of the records that are written."""

import datetime as dt
import json
import typing
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from domain.emissions import EMISSIONS, OCCASIONS
from domain.events import (
    MEANINGS,
    PAYLOADS,
    STREAMS,
    TOPICS,
    EventType,
    PersonId,
    SessionId,
    decode_payload,
    encode_payload,
)
from events import contract
from events.records import HEADERS, OPTIONAL_HEADERS, UnreadableRecord, headers_of, read_record
from schema.schema import SCHEMA
from storage.outbox import OutboxRow

SPECS = Path(__file__).parents[1] / "contract/node_modules/@asyncapi/specs/schemas/3.1.0-without-$id.json"
DOCUMENT = contract.document()


def schema_of(reference: str) -> jsonschema.Draft202012Validator:
    resource = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:contract", resource)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(
        {"$ref": f"urn:contract{reference}"}, registry=registry, format_checker=checker
    )


def row_of(event_type: EventType) -> OutboxRow:
    payload = msgspec.json.encode(contract.example_payload(event_type))
    moment = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
    return OutboxRow(
        sequence=4711,
        id=uuid.uuid4(),
        stream=STREAMS[event_type],
        key=contract.ACTOR,
        type=event_type.value,
        payload=payload,
        created_at=moment,
        traceparent=None,
    )


def test_what_is_committed_is_what_the_code_says() -> None:
    assert contract.ASYNCAPI_PATH.read_text() == contract.render()
    page = contract.TABLE_PATH.read_text()
    assert page == contract.render_page(page)
    assert yaml.safe_load(contract.render()) == DOCUMENT


def test_the_document_is_valid_by_the_schema_of_asyncapi() -> None:
    if not SPECS.exists():
        pytest.skip("the schema of AsyncAPI comes with npm: `make test` fetches it where there is Node")
    validator = jsonschema.Draft7Validator(json.loads(SPECS.read_text()))
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []
    broken = {**DOCUMENT, "channels": {"users.v1": {"adress": "users.v1"}}}
    assert not validator.is_valid(broken)


def test_every_reference_leads_somewhere_and_every_fact_is_in_one_channel() -> None:
    text = json.dumps(DOCUMENT)
    references = {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}
    for reference in references:
        node: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
    told = [name for channel in DOCUMENT["channels"].values() for name in channel["messages"]]
    assert sorted(told) == sorted(EventType)
    assert list(DOCUMENT["channels"]) == list(TOPICS)


@pytest.mark.parametrize("event_type", EventType)
def test_a_record_has_the_headers_and_the_payload_of_the_contract(event_type: EventType) -> None:
    row = row_of(event_type)
    headers = {name: text.decode() for name, text in headers_of(row)}
    schema_of("#/components/schemas/CloudEventHeaders").validate(headers)
    schema_of("#/components/schemas/CloudEventHeaders").validate(contract.example_headers(event_type))
    assert list(headers) == list(HEADERS)
    payload = decode_payload(event_type, row.payload)
    assert payload is not None
    written = json.loads(encode_payload(payload))
    assert written == contract.example_payload(event_type)
    schema_of(f"#/components/schemas/{type(payload).__name__}").validate(written)
    assert schema_of(f"#/components/schemas/{type(payload).__name__}").is_valid({**written, "version": 0}) is False


def test_a_trace_is_told_where_there_is_one() -> None:
    row = row_of(EventType.USER_CREATED)
    traced = OutboxRow(**{name: getattr(row, name) for name in row.__slots__} | {"traceparent": "00-1-2-01"})
    assert set(dict(headers_of(traced))) == {*HEADERS, *OPTIONAL_HEADERS}


def test_a_payload_has_no_field_that_could_hold_a_text() -> None:
    for payload in PAYLOADS.values():
        for name, kind in typing.get_type_hints(payload, include_extras=True).items():
            plain = typing.get_type_hints(payload)[name]
            is_plain = plain in (int, bool, dt.datetime, dt.datetime | None)
            assert is_plain or kind in (PersonId, SessionId | None), f"{payload.__name__}.{name}"


@pytest.mark.parametrize(
    "change",
    [
        {"ce_type": b"user.reincarnated"},
        {"version": 2},
    ],
    ids=["type", "version"],
)
def test_a_fact_of_a_later_type_or_version_is_passed_over(change: dict[str, Any]) -> None:
    row = row_of(EventType.USER_UPDATED)
    payload = json.loads(row.payload) | {name: value for name, value in change.items() if name == "version"}
    headers = dict(headers_of(row)) | {name: value for name, value in change.items() if name != "version"}
    assert read_record(row.key.encode(), list(headers.items()), json.dumps(payload).encode()) is None
    assert read_record(row.key.encode(), headers_of(row), row.payload) is not None


def test_a_later_version_that_is_nothing_like_ours_is_passed_over_too() -> None:
    row = row_of(EventType.USER_UPDATED)
    assert read_record(row.key.encode(), headers_of(row), b'{"version": 9, "who": ["a"]}') is None


FORGERIES: dict[str, dict[str, Any]] = {
    "no headers": {"headers": []},
    "a header without a value": {"ce_id": None},
    "an id that is none": {"ce_id": b"1"},
    "bytes that are no text": {"ce_type": b"\xff\xfe"},
    "another source": {"ce_source": b"elsewhere"},
    "another version of CloudEvents": {"ce_specversion": b"0.3"},
    "a time without its zone": {"ce_time": b"2026-01-31T12:00:00"},
    "no key": {"key": None},
    "another key": {"key": b"m0Zc2Yb1R1q5v0bq3uQk8w"},
    "no value": {"value": None},
    "no JSON": {"value": b"\x00"},
    "a list": {"value": b"[]"},
    "a payload of another type": {"value": b'{"version": 1}'},
    "fields of wrong types": {"value": b'{"version": 1, "userId": 7, "userVersion": "x"}'},
    "a version that is none": {"value": b'{"version": 0, "userId": "a", "userVersion": 1}'},
    "an id that is a text": {"value": b'{"version": 1, "userId": "Ana Bell <ana@x>", "userVersion": 1}'},
    "a megabyte": {"value": b'{"version": 1, "userId": "a", "userVersion": 1, "x": "' + b"x" * 1_000_000 + b'"}'},
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_a_record_that_no_relay_of_ours_wrote_is_refused_without_its_content(forgery: dict[str, Any]) -> None:
    row = row_of(EventType.USER_UPDATED)
    headers = {**dict(headers_of(row)), **{name: text for name, text in forgery.items() if name.startswith("ce_")}}
    with pytest.raises(UnreadableRecord) as refused:
        read_record(
            forgery.get("key", row.key.encode()),
            forgery.get("headers", list(headers.items())),
            forgery.get("value", row.payload),
        )
    assert len(str(refused.value)) < 60
    assert "Ana" not in str(refused.value)


def test_every_mutation_has_its_rows_among_them_one_that_emits_nothing() -> None:
    mutations = set(SCHEMA._schema.mutation_type.fields)  # type: ignore[union-attr] # there are mutations
    assert {row.mutation for row in EMISSIONS} == mutations
    assert {row.mutation for row in EMISSIONS if not row.events} == mutations


def test_every_fact_has_its_meaning_and_something_that_emits_it() -> None:
    emitted = {fact.type for row in EMISSIONS for fact in row.events}
    assert emitted | {event_type for occasion in OCCASIONS for event_type in occasion.events} == set(EventType)
    assert set(MEANINGS) == set(EventType)
