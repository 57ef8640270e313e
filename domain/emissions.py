"""Which mutation emits what: the table that the documentation is made of and the tests run.

Every mutation of the schema has its rows here, also those that emit nothing.
"""

import dataclasses
import enum
from typing import Final

from domain.events import EventType


class Edge(enum.Enum):
    """Whom a fact is about, in order; its key is the acting viewer in every case."""

    VIEWER = "the viewer"
    VIEWER_TO_OTHER = "viewer → other"
    OTHER_TO_VIEWER = "other → viewer"


@dataclasses.dataclass(frozen=True, slots=True)
class Emitted:
    """One fact that a mutation emits; `was_pending` where what ended was a request and no follow."""

    type: EventType
    edge: Edge
    was_pending: bool = False


class State(enum.Enum):
    """How things stand before the mutation; the value is how the documentation says it."""

    STRANGERS = "neither has to do with the other"
    OTHER_IS_PRIVATE = "the other's account is private"
    FOLLOWS = "the viewer follows"
    ASKS = "the viewer's request waits"
    FOLLOWED = "the other follows"
    ASKED = "the other's request waits"
    MUTUAL = "both follow"
    FOLLOWS_AND_ASKED = "the viewer follows, the other's request waits"
    BOTH_ASK = "both requests wait"
    BLOCKS = "the viewer blocks"
    BLOCKED = "the other blocks"
    BLOCK_ENDED = "the viewer's block has run out"
    MUTES = "the viewer mutes"
    DELETED = "the viewer has deleted the account"
    DELETED_MUTUAL = "both followed, and the viewer has deleted the account"
    OPTED_OUT = "the viewer has opted out of sharing"
    PRIVATE_AND_FOLLOWED = "the viewer's account is private, and the other follows"


@dataclasses.dataclass(frozen=True, slots=True)
class Emission:
    """What a mutation emits in one state, in order; `given` where that hangs on the input."""

    mutation: str
    state: State
    events: tuple[Emitted, ...] = ()
    given: str = ""


def _one(event_type: EventType, edge: Edge = Edge.VIEWER_TO_OTHER, *, was_pending: bool = False) -> Emitted:
    return Emitted(event_type, edge, was_pending)


_CREATED: Final = _one(EventType.FOLLOW_CREATED)
_CREATED_OTHER: Final = _one(EventType.FOLLOW_CREATED, Edge.OTHER_TO_VIEWER)
_REQUESTED: Final = _one(EventType.FOLLOW_REQUESTED)
_REMOVED: Final = _one(EventType.FOLLOW_REMOVED)
_WITHDRAWN: Final = _one(EventType.FOLLOW_REMOVED, was_pending=True)
_REMOVED_OTHER: Final = _one(EventType.FOLLOW_REMOVED, Edge.OTHER_TO_VIEWER)
_WITHDRAWN_OTHER: Final = _one(EventType.FOLLOW_REMOVED, Edge.OTHER_TO_VIEWER, was_pending=True)
_ACCEPTED: Final = (
    _one(EventType.FOLLOW_ACCEPTED, Edge.OTHER_TO_VIEWER),
    _one(EventType.FOLLOW_CREATED, Edge.OTHER_TO_VIEWER),
)
_REJECTED: Final = _one(EventType.FOLLOW_REJECTED, Edge.OTHER_TO_VIEWER, was_pending=True)
_BLOCKED: Final = _one(EventType.USER_BLOCKED)
_UNBLOCKED: Final = _one(EventType.USER_UNBLOCKED)
_MUTED: Final = _one(EventType.USER_MUTED)
_UNMUTED: Final = _one(EventType.USER_UNMUTED)
_DELETED: Final = _one(EventType.USER_DELETED, Edge.VIEWER)
_RESTORED: Final = _one(EventType.USER_RESTORED, Edge.VIEWER)
_UPDATED: Final = _one(EventType.USER_UPDATED, Edge.VIEWER)
_RENAMED: Final = _one(EventType.USER_USERNAME_CHANGED, Edge.VIEWER)
_PRIVACY: Final = _one(EventType.PRIVACY_UPDATED, Edge.VIEWER)
_SHARING: Final = _one(EventType.DATA_SHARING_UPDATED, Edge.VIEWER)
_SIGNED_OUT: Final = _one(EventType.SESSION_REVOKED, Edge.VIEWER)

AS_BEFORE: Final = "what is there already"
UNTIL: Final = "another `expiresAt`"
CHANGED: Final = "something else"
PUBLIC_ACCEPTING: Final = "`isPrivate: false`, `waitingRequests: ACCEPT`"
PUBLIC_REJECTING: Final = "`isPrivate: false`, `waitingRequests: REJECT`"
ANOTHER_NAME: Final = "another name"
SAME_NAME: Final = "the name as it is"
EVERYWHERE: Final = "`everywhere: true`"
NO_SESSION: Final = "a token without `sid`"
PRIVATE: Final = "`isPrivate: true`"
CONFIRMED: Final = "the viewer's own username as `confirmation`"
OPTED_OUT: Final = "`optedOut: true`"
UNCONFIRMED: Final = "another `confirmation`"

_FOLLOWING: Final = (
    Emission("followUser", State.STRANGERS, (_CREATED,)),
    Emission("followUser", State.FOLLOWED, (_CREATED,)),
    Emission("followUser", State.OTHER_IS_PRIVATE, (_REQUESTED,)),
    Emission("followUser", State.BLOCK_ENDED, (_UNBLOCKED, _CREATED)),
    Emission("followUser", State.FOLLOWS),
    Emission("followUser", State.ASKS),
    Emission("followUser", State.BLOCKS),
    Emission("followUser", State.BLOCKED),
    Emission("unfollowUser", State.FOLLOWS, (_REMOVED,)),
    Emission("unfollowUser", State.MUTUAL, (_REMOVED,)),
    Emission("unfollowUser", State.ASKS, (_WITHDRAWN,)),
    Emission("unfollowUser", State.STRANGERS),
    Emission("unfollowUser", State.BLOCKED),
    Emission("cancelFollowRequest", State.ASKS, (_WITHDRAWN,)),
    Emission("cancelFollowRequest", State.FOLLOWS),
    Emission("cancelFollowRequest", State.STRANGERS),
)

_BEING_FOLLOWED: Final = (
    Emission("acceptFollowRequest", State.ASKED, _ACCEPTED),
    Emission("acceptFollowRequest", State.FOLLOWS_AND_ASKED, _ACCEPTED),
    Emission("acceptFollowRequest", State.FOLLOWED),
    Emission("acceptFollowRequest", State.STRANGERS),
    Emission("rejectFollowRequest", State.ASKED, (_REJECTED,)),
    Emission("rejectFollowRequest", State.FOLLOWED),
    Emission("rejectFollowRequest", State.STRANGERS),
    Emission("removeFollower", State.FOLLOWED, (_REMOVED_OTHER,)),
    Emission("removeFollower", State.MUTUAL, (_REMOVED_OTHER,)),
    Emission("removeFollower", State.ASKED, (_WITHDRAWN_OTHER,)),
    Emission("removeFollower", State.STRANGERS),
)

_KEEPING_AWAY: Final = (
    Emission("blockUser", State.STRANGERS, (_BLOCKED,)),
    Emission("blockUser", State.FOLLOWS, (_BLOCKED, _REMOVED)),
    Emission("blockUser", State.MUTUAL, (_BLOCKED, _REMOVED, _REMOVED_OTHER)),
    Emission("blockUser", State.FOLLOWS_AND_ASKED, (_BLOCKED, _REMOVED, _WITHDRAWN_OTHER)),
    Emission("blockUser", State.BOTH_ASK, (_BLOCKED, _WITHDRAWN, _WITHDRAWN_OTHER)),
    Emission("blockUser", State.BLOCKS, (_BLOCKED,), UNTIL),
    Emission("blockUser", State.BLOCK_ENDED, (_UNBLOCKED, _BLOCKED)),
    Emission("blockUser", State.BLOCKS),
    Emission("blockUser", State.BLOCKED),
    Emission("unblockUser", State.BLOCKS, (_UNBLOCKED,)),
    Emission("unblockUser", State.STRANGERS),
    Emission("unblockUser", State.BLOCKED),
    Emission("muteUser", State.STRANGERS, (_MUTED,)),
    Emission("muteUser", State.MUTUAL, (_MUTED,)),
    Emission("muteUser", State.MUTES, (_MUTED,), UNTIL),
    Emission("muteUser", State.MUTES),
    Emission("muteUser", State.BLOCKED),
    Emission("unmuteUser", State.MUTES, (_UNMUTED,)),
    Emission("unmuteUser", State.STRANGERS),
)

_ONESELF: Final = (
    Emission("updateProfile", State.STRANGERS, (_UPDATED,), CHANGED),
    Emission("updateProfile", State.STRANGERS, (), AS_BEFORE),
    Emission("updatePrivacySettings", State.STRANGERS, (_PRIVACY,), CHANGED),
    Emission("updatePrivacySettings", State.STRANGERS, (), AS_BEFORE),
    Emission("updatePrivacySettings", State.FOLLOWED, (_PRIVACY,), PRIVATE),
    Emission("updatePrivacySettings", State.PRIVATE_AND_FOLLOWED, (_PRIVACY,), PUBLIC_ACCEPTING),
    Emission("updatePrivacySettings", State.ASKED, (_PRIVACY, *_ACCEPTED), PUBLIC_ACCEPTING),
    Emission("updatePrivacySettings", State.ASKED, (_PRIVACY, _REJECTED), PUBLIC_REJECTING),
    Emission("markNotificationsRead", State.FOLLOWED),
    Emission("updateNotificationPreferences", State.STRANGERS, (), CHANGED),
    Emission("deleteAccount", State.MUTUAL, (_DELETED, _REMOVED, _REMOVED_OTHER, _SIGNED_OUT), CONFIRMED),
    Emission("deleteAccount", State.FOLLOWS_AND_ASKED, (_DELETED, _REMOVED, _WITHDRAWN_OTHER, _SIGNED_OUT), CONFIRMED),
    Emission("deleteAccount", State.MUTUAL, (), UNCONFIRMED),
    Emission("deleteAccount", State.DELETED, (), CONFIRMED),
    Emission("recordConsent", State.STRANGERS),
    Emission("setDataSharing", State.STRANGERS, (_SHARING,), OPTED_OUT),
    Emission("setDataSharing", State.OPTED_OUT, (), OPTED_OUT),
    Emission("requestDataExport", State.STRANGERS),
    Emission("restoreAccount", State.DELETED, (_RESTORED,)),
    Emission("restoreAccount", State.DELETED_MUTUAL, (_RESTORED, _CREATED, _CREATED_OTHER)),
    Emission("restoreAccount", State.MUTUAL),
    Emission("changeUsername", State.STRANGERS, (_RENAMED,), ANOTHER_NAME),
    Emission("changeUsername", State.STRANGERS, (), SAME_NAME),
    Emission("removeFormerUsernames", State.STRANGERS),
    Emission("signOut", State.STRANGERS, (_SIGNED_OUT,), EVERYWHERE),
    Emission("signOut", State.STRANGERS, (), NO_SESSION),
)

EMISSIONS: Final = _FOLLOWING + _BEING_FOLLOWED + _KEEPING_AWAY + _ONESELF


@dataclasses.dataclass(frozen=True, slots=True)
class Occasion:
    """What emits facts without a mutation; the key is the person whose account, block, mute or request it is."""

    cause: str
    events: tuple[EventType, ...]


OCCASIONS: Final = (
    Occasion("somebody signs up", (EventType.USER_CREATED,)),
    Occasion("somebody has confirmed another e-mail address", (EventType.USER_UPDATED,)),
    Occasion(
        "many follows end with an account, or come back with it: the rest of them, soon after",
        (EventType.FOLLOW_REMOVED, EventType.FOLLOW_CREATED, EventType.FOLLOW_REQUESTED),
    ),
    Occasion("30 days after an account was deleted", (EventType.USER_PURGED,)),
    Occasion("a person's browser sends `Sec-GPC: 1` for the first time", (EventType.DATA_SHARING_UPDATED,)),
    Occasion("a block's time has come", (EventType.USER_UNBLOCKED,)),
    Occasion("a mute's time has come", (EventType.USER_UNMUTED,)),
    Occasion("a request has waited too long", (EventType.FOLLOW_REMOVED,)),
    Occasion(
        "many waited when an account went public: the rest of them, soon after",
        (EventType.FOLLOW_ACCEPTED, EventType.FOLLOW_CREATED, EventType.FOLLOW_REJECTED),
    ),
)
