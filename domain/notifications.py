"""What a person is told about."""

import dataclasses
import datetime as dt
import enum
import uuid


class NotificationKind(enum.IntEnum):
    """Why a person is told. The numbers are stored."""

    FOLLOW = 1
    FOLLOW_REQUEST = 2
    FOLLOW_ACCEPTED = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Notification:
    """One entry of a person's notifications; `sequence` grows by one per owner, in the order of commit."""

    owner_id: int
    sequence: int
    event_id: uuid.UUID
    kind: NotificationKind
    actor_id: int
    created_at: dt.datetime
    read_at: dt.datetime | None
