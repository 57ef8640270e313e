"""What a person is told about, and for how long that holds.

A notification lives as long as what it tells: that somebody follows, asks, or let one follow. Whatever ends the follow
or the request (a block, an unfollow, a departure) withdraws it, and nothing brings it back: what comes later is news of
its own.
"""

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from typing import Final

from domain.relationships import FollowState, Relationship


class NotificationKind(enum.IntEnum):
    """Why a person is told. The numbers are stored."""

    FOLLOW = 1
    FOLLOW_REQUEST = 2
    FOLLOW_ACCEPTED = 3

    def holds(self, side: Relationship) -> bool:
        """Tell whether what the owner of this side is told of the other is so."""
        return self._state(side) is _STATES[self]

    def is_current(self, side: Relationship, pair_version: int) -> bool:
        """Tell whether it is so since the fact of that version, and not since a later one of its kind."""
        version = side.follows_version if self is NotificationKind.FOLLOW_ACCEPTED else side.followed_by_version
        return self.holds(side) and version <= pair_version

    def _state(self, side: Relationship) -> FollowState:
        return side.follows if self is NotificationKind.FOLLOW_ACCEPTED else side.followed_by


_STATES: Final[Mapping[NotificationKind, FollowState]] = {
    NotificationKind.FOLLOW: FollowState.ACTIVE,
    NotificationKind.FOLLOW_REQUEST: FollowState.PENDING,
    NotificationKind.FOLLOW_ACCEPTED: FollowState.ACTIVE,
}


def ended_kinds(before: Relationship, after: Relationship) -> list[NotificationKind]:
    """Name what the owner of these rows has been told and is so no longer."""
    return [kind for kind in NotificationKind if kind.holds(before) and not kind.holds(after)]


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


@dataclasses.dataclass(frozen=True, slots=True)
class GroupKey:
    """Which of an owner's notifications form one group: those of a kind, in a burst, kept apart or not.

    A burst is a day (UTC), cut short where the owner has read everything. Its limits rest on the clock and the owner
    alone: nobody's being hidden moves a notification from one group to another.
    """

    filtered: bool
    burst: int
    kind: NotificationKind


@dataclasses.dataclass(frozen=True, slots=True)
class NotificationGroup:
    """One group with its counts, less what a block hides."""

    key: GroupKey
    total: int
    unread: int
