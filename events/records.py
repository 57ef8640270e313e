"""Outbox rows as Kafka records: CloudEvents 1.0 in binary mode, headers in front and the payload as JSON."""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from domain.events import AnyPayload, EventType, decode_payload
from storage.outbox import OutboxRow

SOURCE: Final = "kith"
_KNOWN: Final = frozenset(event_type.value for event_type in EventType)
_SEQUENCE_DIGITS: Final = 20

Headers = Sequence[tuple[str, bytes]]


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
        "content-type": "application/json",
    }
    return [(name, value.encode()) for name, value in attributes.items() if value is not None]


def read_record(key: bytes | None, headers: Headers, value: bytes | None) -> ReceivedEvent | None:
    """Read a record; None for a type of fact that this version does not know.

    Raises:
        UnreadableRecord: it is not a CloudEvent of ours.
    """
    attributes = dict(headers)
    try:
        name = attributes["ce_type"].decode()
        if name not in _KNOWN:
            return None
        event_type = EventType(name)
        return ReceivedEvent(
            id=uuid.UUID(attributes["ce_id"].decode()),
            type=event_type,
            time=dt.datetime.fromisoformat(attributes["ce_time"].decode()),
            key=(key or b"").decode(),
            payload=decode_payload(event_type, value or b""),
        )
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise UnreadableRecord(type(error).__name__) from error
