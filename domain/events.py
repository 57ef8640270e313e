"""Facts that other services may hear of: names, payloads, topics. Ids only, never personal data.

The payload types are the contract; `docs/asyncapi.yaml` is made from them. A field may be added to a payload at any
time; where one changes its meaning or goes, the payload's version grows, and whoever does not know it passes it over.
"""

import dataclasses
import datetime as dt
import enum
import uuid
from typing import Annotated, Final

import msgspec
from msgspec import Meta

PersonId = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9_-]{1,64}$",
        description="A person's id, as in the GraphQL API.",
        examples=["nF3vWq0cQmyb6eJ1t0sGZA"],
    ),
]
SessionId = Annotated[
    str, Meta(pattern="^[A-Za-z0-9._~:-]{1,255}$", description="The `sid` of access tokens, as their issuer made it.")
]
Version = Annotated[int, Meta(ge=1)]
Moment = Annotated[dt.datetime, Meta(tz=True)]


class EventType(enum.StrEnum):
    """The name of a fact, as in the `ce_type` header."""

    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    USER_DELETED = "user.deleted"
    USER_RESTORED = "user.restored"
    USER_PURGED = "user.purged"
    USER_USERNAME_CHANGED = "user.username_changed"
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
    DATA_SHARING_UPDATED = "data_sharing.updated"
    SESSION_REVOKED = "session.revoked"


class Payload(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=False):
    """What every payload has: the version of its form."""

    version: Version = 1


class FollowPayload(Payload, frozen=True, kw_only=True):
    """A follow edge changed; `pair_version` orders all events of the two people.

    `restored` where it came back with a person who was gone: nobody is told of it anew.
    """

    follower_id: PersonId
    followee_id: PersonId
    pair_version: Version
    was_pending: bool = False
    restored: bool = False


class BlockPayload(Payload, frozen=True, kw_only=True):
    """A block was set, changed or lifted; whoever filters content does it both ways."""

    blocker_id: PersonId
    blocked_id: PersonId
    pair_version: Version
    expires_at: Moment | None = None


class MutePayload(Payload, frozen=True, kw_only=True):
    """A mute was set, changed or lifted; the muted person never learns of it."""

    muter_id: PersonId
    muted_id: PersonId
    expires_at: Moment | None = None


class UserPayload(Payload, frozen=True, kw_only=True):
    """A profile or a privacy policy changed: fetch what you show again when `user_version` is news to you."""

    user_id: PersonId
    user_version: Version


class DataSharingPayload(Payload, frozen=True, kw_only=True):
    """Whether somebody's data may be sold or shared; the decision with the greatest `consent_number` holds."""

    user_id: PersonId
    opted_out: bool
    consent_number: Version


class SessionPayload(Payload, frozen=True, kw_only=True):
    """Tokens count no more: those of one session, or without `session_id` all issued before `revoked_at`."""

    user_id: PersonId
    session_id: SessionId | None = None
    revoked_at: Moment


AnyPayload = FollowPayload | BlockPayload | MutePayload | UserPayload | DataSharingPayload | SessionPayload

PAYLOADS: Final[dict[EventType, type[AnyPayload]]] = {
    EventType.USER_CREATED: UserPayload,
    EventType.USER_UPDATED: UserPayload,
    EventType.USER_DELETED: UserPayload,
    EventType.USER_RESTORED: UserPayload,
    EventType.USER_PURGED: UserPayload,
    EventType.USER_USERNAME_CHANGED: UserPayload,
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
    EventType.DATA_SHARING_UPDATED: DataSharingPayload,
    EventType.SESSION_REVOKED: SessionPayload,
}

MEANINGS: Final[dict[EventType, str]] = {
    EventType.USER_CREATED: "Somebody has signed up.",
    EventType.USER_UPDATED: "Somebody's profile has changed; fetch what you show of it again.",
    EventType.USER_DELETED: "Somebody is gone: show nothing of the person; what is still to be restored may be kept.",
    EventType.USER_RESTORED: "Somebody who was gone is back; the follows that came back are told one by one.",
    EventType.USER_PURGED: "Somebody is gone for good: erase whatever you keep of the person, and acknowledge it.",
    EventType.USER_USERNAME_CHANGED: "Somebody has another name; fetch what you show of the person again.",
    EventType.FOLLOW_REQUESTED: "Somebody asks to follow a private account.",
    EventType.FOLLOW_ACCEPTED: "A request was accepted; follow.created comes right after.",
    EventType.FOLLOW_REJECTED: "A request was rejected; the one who asked is not to be told.",
    EventType.FOLLOW_CREATED: "Somebody follows another.",
    EventType.FOLLOW_REMOVED: "A follow has ended, by whichever side, or a request was withdrawn (`wasPending`).",
    EventType.USER_BLOCKED: "Somebody blocks another, or until another time; neither may be shown to the other.",
    EventType.USER_UNBLOCKED: "A block was lifted, or its time has come; the other side's block may still stand.",
    EventType.USER_MUTED: "Somebody mutes another, or until another time; the muted never learns of it.",
    EventType.USER_UNMUTED: "A mute was lifted, or its time has come.",
    EventType.PRIVACY_UPDATED: "Somebody has changed who may see what; fetch what you show of the person again.",
    EventType.DATA_SHARING_UPDATED: "Somebody has opted out of having data sold or shared, or in: heed it at once.",
    EventType.SESSION_REVOKED: "Somebody has signed out, or was signed out: refuse those tokens from now on.",
}

_SOCIAL: Final = (FollowPayload, BlockPayload, MutePayload)

_OTHERS: Final = {
    EventType.PRIVACY_UPDATED: "privacy",
    EventType.DATA_SHARING_UPDATED: "privacy",
    EventType.SESSION_REVOKED: "identity",
}

STREAMS: Final[dict[EventType, str]] = {
    event_type: _OTHERS.get(event_type, "social" if payload in _SOCIAL else "users")
    for event_type, payload in PAYLOADS.items()
}

TOPICS: Final = ("users.v1", "social.v1", "privacy.v1", "identity.v1")

ACKNOWLEDGEMENTS: Final = "acknowledgements.v1"
"""The topic on which other services send `user.purged` back."""


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


def version_of(payload: type[AnyPayload]) -> int:
    """Give the version of a payload that is written, which is also the latest that is read."""
    [version] = [field.default for field in msgspec.structs.fields(payload) if field.name == "version"]
    return int(version)


def decode_payload(event_type: EventType, data: bytes) -> AnyPayload | None:
    """Read a payload; None where its version is later than ours.

    Raises:
        msgspec.MsgspecError: it is no payload of this type.
    """
    payload = PAYLOADS[event_type]
    if msgspec.json.decode(data, type=Payload).version > version_of(payload):
        return None
    return msgspec.json.decode(data, type=payload)
