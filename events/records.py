"""Outbox rows as Kafka records: CloudEvents 1.0 in binary mode, headers in front and the payload as JSON."""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from domain.events import AnyPayload, EventType, decode_payload
from storage.outbox import OutboxRow

SOURCE: Final = "kith"
CONTENT_TYPE: Final = "application/json"
MAX_RECORD_BYTES: Final = 16_384
_KNOWN: Final = frozenset(event_type.value for event_type in EventType)
_SEQUENCE_DIGITS: Final = 20

Headers = Sequence[tuple[str, bytes | None]]

HEADERS: Final[dict[str, str]] = {
    "ce_id": "A UUID. The same fact always comes under the same id, however often: keep it to have its effect once.",
    "ce_source": f"Always `{SOURCE}`.",
    "ce_specversion": "The version of CloudEvents.",
    "ce_type": "The name of the fact.",
    "ce_subject": "The acting person's id.",
    "ce_time": "When it happened, in RFC 3339.",
    "ce_partitionkey": "The record's key, which orders: the acting person's id.",
    "ce_sequence": "Grows from fact to fact of a key, and has gaps; padded with zeros, so that it sorts as text.",
    "content-type": "The form of the value.",
}
"""The attributes that every record has, as headers, and what they say."""

OPTIONAL_HEADERS: Final[dict[str, str]] = {
    "ce_traceparent": "The trace that the fact belongs to, by W3C Trace Context.",
}


class UnreadableRecord(Exception):
    """A record is not one of ours; repeating it will not help."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One fact as a consumer gets it."""

    id: uuid.UUID
    type: EventType
    time: dt.datetime
    key: str
    payload: AnyPayload


def topic_of(row: OutboxRow) -> str:
    """Name the topic of a row's stream."""
    return f"{row.stream}.v1"


def headers_of(row: OutboxRow) -> list[tuple[str, bytes]]:
    """Write the CloudEvents attributes of a row."""
    attributes = {
        "ce_id": str(row.id),
        "ce_source": SOURCE,
        "ce_specversion": "1.0",
        "ce_type": row.type,
        "ce_subject": row.key,
        "ce_time": row.created_at.isoformat(),
        "ce_partitionkey": row.key,
        "ce_sequence": str(row.sequence).zfill(_SEQUENCE_DIGITS),
        "ce_traceparent": row.traceparent,
        "content-type": CONTENT_TYPE,
    }
    return [(name, value.encode()) for name, value in attributes.items() if value is not None]


def read_record(key: bytes | None, headers: Headers, value: bytes | None) -> ReceivedEvent | None:
    """Read a record; None for a type or a version of fact that comes from later than this code.

    Raises:
        UnreadableRecord: it is not a CloudEvent of ours; the message names what is wrong, and no content.
    """
    attributes = {name: text for name, text in headers if text is not None}
    try:
        _check_envelope(attributes, key, value)
        name = attributes["ce_type"].decode()
        if name not in _KNOWN:
            return None
        event_type = EventType(name)
        payload = decode_payload(event_type, value or b"")
        if payload is None:
            return None
        return ReceivedEvent(
            id=uuid.UUID(attributes["ce_id"].decode()),
            type=event_type,
            time=_moment(attributes["ce_time"].decode()),
            key=(key or b"").decode(),
            payload=payload,
        )
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise UnreadableRecord(type(error).__name__) from error


def _check_envelope(attributes: Mapping[str, bytes], key: bytes | None, value: bytes | None) -> None:
    """Refuse what no relay of ours has written, whatever it says that it is."""
    if value is None or len(value) > MAX_RECORD_BYTES:
        raise UnreadableRecord("no value" if value is None else "a value too long to be ours")
    if attributes["ce_source"] != SOURCE.encode() or attributes["ce_specversion"] != b"1.0":
        raise UnreadableRecord("another source")
    if not key or key != attributes["ce_partitionkey"] or key != attributes["ce_subject"]:
        raise UnreadableRecord("another key than the one it names")


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise UnreadableRecord("a time without its zone")
    return moment
