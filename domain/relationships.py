"""What two people are to each other.

A pair has two rows, one on each side; the second is the first seen from the other end (`mirrored`). Muting is the
exception: it is the owner's own affair, and never shows on the other side.
"""

import dataclasses
import datetime as dt
import enum
from typing import Final

import msgspec


class FollowState(enum.IntEnum):
    """How far a follow has come: nothing, asked for, or in force. The numbers are stored."""

    NONE = 0
    PENDING = 1
    ACTIVE = 2


_IN_FORCE: Final = FollowState.ACTIVE  # looked up once: a member of an enum is slow to read off its class


class ListKind(enum.Enum):
    """The lists of a person: the public two, those that two people's lists have in common, and the owner's own."""

    FOLLOWERS = "followers"
    FOLLOWING = "following"
    MUTUAL = "mutual followers"
    REQUESTS = "requests"
    ASKED = "asked"
    BLOCKED = "blocked"
    MUTED = "muted"


class WaitingRequests(enum.Enum):
    """What becomes of those who wait when a private account goes public."""

    ACCEPT = "accept"
    REJECT = "reject"


class FollowOrder(enum.Enum):
    """The order of follower and following lists."""

    NEWEST_FIRST = "newest_first"
    OLDEST_FIRST = "oldest_first"


class Relationship(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Everything one person's side knows about another; `version` only grows.

    It is remembered in the order of its fields: new ones come last.
    """

    follows: FollowState = FollowState.NONE
    follows_at: dt.datetime | None = None
    followed_by: FollowState = FollowState.NONE
    followed_by_at: dt.datetime | None = None
    blocks: bool = False
    blocks_until: dt.datetime | None = None
    blocks_since: dt.datetime | None = None
    blocked_by: bool = False
    blocked_by_until: dt.datetime | None = None
    blocked_by_since: dt.datetime | None = None
    mutes: bool = False
    mutes_until: dt.datetime | None = None
    version: int = 0
    follows_version: int = 0
    followed_by_version: int = 0
    """The version at which each direction last changed its state; 0 where that is not known."""

    @property
    def is_mutual(self) -> bool:
        """Tell whether both follow each other."""
        return self.follows is _IN_FORCE and self.followed_by is _IN_FORCE

    def blocks_at(self, now: dt.datetime) -> bool:
        """Tell whether the owner's block is in force: a block with an end lapses by itself."""
        return self.blocks and (self.blocks_until is None or now < self.blocks_until)

    def blocked_by_at(self, now: dt.datetime) -> bool:
        """Tell whether the other's block is in force."""
        return self.blocked_by and (self.blocked_by_until is None or now < self.blocked_by_until)

    def mutes_at(self, now: dt.datetime) -> bool:
        """Tell whether the owner's mute is in force."""
        return self.mutes and (self.mutes_until is None or now < self.mutes_until)

    def mirrored(self) -> "Relationship":
        """See the same pair from the other end, where a mute does not show."""
        return Relationship(
            follows=self.followed_by,
            follows_at=self.followed_by_at,
            followed_by=self.follows,
            followed_by_at=self.follows_at,
            blocks=self.blocked_by,
            blocks_until=self.blocked_by_until,
            blocks_since=self.blocked_by_since,
            blocked_by=self.blocks,
            blocked_by_until=self.blocks_until,
            blocked_by_since=self.blocks_since,
            version=self.version,
            follows_version=self.followed_by_version,
            followed_by_version=self.follows_version,
        )

    def as_next_of(self, before: "Relationship") -> "Relationship":
        """Give this side the version after `before`, and to each direction that has changed since."""
        version = before.version + 1
        return msgspec.structs.replace(
            self,
            version=version,
            follows_version=before.follows_version if self.follows is before.follows else version,
            followed_by_version=before.followed_by_version if self.followed_by is before.followed_by else version,
        )


STRANGERS: Final = Relationship()


@dataclasses.dataclass(frozen=True, slots=True)
class CountChange:
    """By how much one person's counters move."""

    followers: int
    following: int

    def __bool__(self) -> bool:
        return self.followers != 0 or self.following != 0


def count_change(before: Relationship, after: Relationship) -> CountChange:
    """Compute how the counters of the owner of these rows move; the other's are those of the mirrored rows."""
    return CountChange(
        followers=_active(after.followed_by) - _active(before.followed_by),
        following=_active(after.follows) - _active(before.follows),
    )


def _active(state: FollowState) -> int:
    return 1 if state is FollowState.ACTIVE else 0
