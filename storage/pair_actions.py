"""An action of one person on a pair: what is asked, what is told of it, and how many one may follow."""

import dataclasses
import datetime as dt
from typing import Final

from domain.errors import KithError
from domain.events import AnyPayload, BlockPayload, Event, EventType, FollowPayload
from domain.follow_limits import FollowLimits
from domain.ids import NodeType, OpaqueIds
from domain.relationships import Relationship
from domain.transitions import Change, PairEvent, Transition
from domain.users import Counts
from storage.cells import Cell
from storage.counters import FollowUse
from storage.database import Database

LAPSED: Final = "lapsed"
"""The action of an audit row where time ended something, and nobody did."""


class FollowLimitReached(KithError):
    """You follow as many people as you may; unfollow somebody first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """An action that somebody asks for."""

    database: Database
    actor_id: int
    other_id: int
    transition: Transition
    now: dt.datetime
    limits: FollowLimits | None

    @property
    def low(self) -> int:
        """Give the id whose row decides."""
        return min(self.actor_id, self.other_id)

    @property
    def high(self) -> int:
        """Give the other id."""
        return max(self.actor_id, self.other_id)

    @property
    def cell(self) -> Cell:
        """Give the cell that decides."""
        return self.database.shards.home(self.low)

    @property
    def is_whole(self) -> bool:
        """Tell whether both people live there."""
        return self.database.shards.home(self.high) is self.cell

    def seen_by(self, user_id: int, actors: Relationship) -> Relationship:
        """Give one person's side, from the actor's; or the actor's from that person's."""
        return actors if user_id == self.actor_id else actors.mirrored()


def action_of(change: Change) -> str:
    """Name an action in the audit log."""
    return change.deed.type.value if change.deed is not None else LAPSED


def check_limits(limits: FollowLimits, change: Change, use: FollowUse, moved: Counts | None) -> None:
    """Refuse one follow or request too many; `moved` is the actor's counters with it, where they are at hand."""
    deed = change.deed
    if deed is None or deed.reverse:
        return
    expected = Counts(use.counts.followers, use.counts.following + 1)
    if deed.type is EventType.FOLLOW_CREATED and limits.is_exceeded_by(moved or expected):
        raise FollowLimitReached
    with_requests = Counts(use.counts.followers, use.counts.following + use.waiting + 1)
    if deed.type is EventType.FOLLOW_REQUESTED and limits.is_exceeded_by(with_requests):
        raise FollowLimitReached


def events_of(database: Database, actor_id: int, other_id: int, change: Change, after: Relationship) -> list[Event]:
    """Give what is told of a change; `after` is the actor's side, with the version that came of it."""
    return [_event(database.ids, actor_id, other_id, event, after) for event in change.events]


def _event(ids: OpaqueIds, actor_id: int, other_id: int, event: PairEvent, after: Relationship) -> Event:
    actor = ids.encode(NodeType.USER, actor_id)
    other = ids.encode(NodeType.USER, other_id)
    return Event(type=event.type, actor_id=actor, payload=_payload(actor, other, event, after))


def _payload(actor: str, other: str, event: PairEvent, after: Relationship) -> AnyPayload:
    one, two = (other, actor) if event.reverse else (actor, other)
    if event.type in (EventType.USER_BLOCKED, EventType.USER_UNBLOCKED):
        until = after.blocks_until if event.type is EventType.USER_BLOCKED else None
        return BlockPayload(blocker_id=one, blocked_id=two, pair_version=after.version, expires_at=until)
    return FollowPayload(
        follower_id=one,
        followee_id=two,
        pair_version=after.version,
        was_pending=event.was_pending,
        restored=event.restored,
    )
