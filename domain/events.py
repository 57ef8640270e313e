"""Facts that other services may hear of: names, payloads, topics. Ids only, never personal data.

The payload types are the contract; `asyncapi.yaml` is made from them.
"""

import dataclasses
import datetime as dt
import enum
import uuid
from typing import Final

import msgspec

PAYLOAD_VERSION: Final = 1


class EventType(enum.StrEnum):
    """The name of a fact, as in the `ce_type` header."""

    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    USER_DELETED = "user.deleted"
    FOLLOW_REQUESTED = "follow.requested"
    FOLLOW_ACCEPTED = "follow.accepted"
    FOLLOW_REJECTED = "follow.rejected"
    FOLLOW_CREATED = "follow.created"
    FOLLOW_REMOVED = "follow.removed"
    USER_BLOCKED = "user.blocked"
    USER_UNBLOCKED = "user.unblocked"
    USER_MUTED = "user.muted"
    USER_UNMUTED = "user.unmuted"
    PRIVACY_UPDATED = "privacy.updated"


class Payload(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=False):
    """What every payload has: its own version."""

    version: int = PAYLOAD_VERSION


class FollowPayload(Payload, frozen=True, kw_only=True):
    """A follow edge changed; `pair_version` orders all events of the two people."""

    follower_id: str
    followee_id: str
    pair_version: int
    was_pending: bool = False


class BlockPayload(Payload, frozen=True, kw_only=True):
    """A block was set, changed or lifted; whoever filters content does it both ways."""

    blocker_id: str
    blocked_id: str
    pair_version: int
    expires_at: dt.datetime | None = None


class MutePayload(Payload, frozen=True, kw_only=True):
    """A mute was set, changed or lifted; the muted person never learns of it."""

    muter_id: str
    muted_id: str
    expires_at: dt.datetime | None = None


class UserPayload(Payload, frozen=True, kw_only=True):
    """A profile or a privacy policy changed: fetch what you show again when `user_version` is news to you."""

    user_id: str
    user_version: int


AnyPayload = FollowPayload | BlockPayload | MutePayload | UserPayload

PAYLOADS: Final[dict[EventType, type[AnyPayload]]] = {
    EventType.USER_CREATED: UserPayload,
    EventType.USER_UPDATED: UserPayload,
    EventType.USER_DELETED: UserPayload,
    EventType.FOLLOW_REQUESTED: FollowPayload,
    EventType.FOLLOW_ACCEPTED: FollowPayload,
    EventType.FOLLOW_REJECTED: FollowPayload,
    EventType.FOLLOW_CREATED: FollowPayload,
    EventType.FOLLOW_REMOVED: FollowPayload,
    EventType.USER_BLOCKED: BlockPayload,
    EventType.USER_UNBLOCKED: BlockPayload,
    EventType.USER_MUTED: MutePayload,
    EventType.USER_UNMUTED: MutePayload,
    EventType.PRIVACY_UPDATED: UserPayload,
}

_SOCIAL: Final = (FollowPayload, BlockPayload, MutePayload)

STREAMS: Final[dict[EventType, str]] = {
    event_type: "privacy" if event_type is EventType.PRIVACY_UPDATED else "social" if payload in _SOCIAL else "users"
    for event_type, payload in PAYLOADS.items()
}

TOPICS: Final = ("users.v1", "social.v1", "privacy.v1", "identity.v1")


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One fact, as the outbox keeps it; `actor_id` is the acting user's opaque id and the key that orders."""

    type: EventType
    actor_id: str
    payload: AnyPayload
    id: uuid.UUID = dataclasses.field(default_factory=uuid.uuid4)

    @property
    def stream(self) -> str:
        """Name the stream of facts that this one belongs to; its topic is `<stream>.v1`."""
        return STREAMS[self.type]


def encode_payload(payload: AnyPayload) -> bytes:
    """Write a payload as JSON."""
    return msgspec.json.encode(payload)


def decode_payload(event_type: EventType, data: bytes) -> AnyPayload:
    """Read a payload; raises `msgspec.ValidationError` or `msgspec.DecodeError` for anything else."""
    return msgspec.json.decode(data, type=PAYLOADS[event_type])
