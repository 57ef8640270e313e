"""Acknowledgements of erasure: other services say that they have erased what they kept of a person.

A service that is named in KITH_ERASURE_CONSUMERS sends the record `user.purged` back as it came, on the topic
`acknowledgements.v1`, with its name in place of `ce_source`.
"""

import dataclasses
import re
from typing import Final

from domain.events import EventType, UserPayload
from events.people import internal_of
from events.records import SOURCE, Headers, ReceivedEvent, UnreadableRecord, read_record
from storage.database import Database
from storage.purges import acknowledge

GROUP: Final = "kith-acknowledgements"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclasses.dataclass(frozen=True, slots=True)
class Acknowledged(ReceivedEvent):
    """The fact as it came back, and from whom."""

    consumer: str = ""


def read_acknowledgement(key: bytes | None, headers: Headers, value: bytes | None) -> ReceivedEvent | None:
    """Read a record that came back; raises UnreadableRecord, as for any other."""
    sent = dict(headers)
    consumer = (sent.get("ce_source") or b"").decode("utf-8", "replace")
    if not _NAME.fullmatch(consumer) or consumer == SOURCE:
        raise UnreadableRecord("no name of a consumer")
    event = read_record(key, list({**sent, "ce_source": SOURCE.encode()}.items()), value)
    if event is None or event.type is not EventType.USER_PURGED:
        return None
    return Acknowledged(event.id, event.type, event.time, event.key, event.payload, consumer)


class AcknowledgementHandler:
    """Notes each acknowledgement once, however often it comes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def handle(self, event: ReceivedEvent) -> None:
        """Note who has erased what; raises Overloaded."""
        if isinstance(event, Acknowledged) and isinstance(event.payload, UserPayload):
            user_id = internal_of(self._database.ids, event.payload.user_id)
            await acknowledge(self._database, user_id, event.consumer)
