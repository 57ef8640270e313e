"""The effects of facts: rows of other cells brought up to date, and people told. Each may be repeated."""

import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Final

from domain.events import BlockPayload, EventType, FollowPayload
from domain.ids import NodeType
from domain.notifications import NotificationKind
from domain.relationships import STRANGERS, FollowState, Relationship
from events.records import ReceivedEvent, UnreadableRecord
from storage.channels import Client, wake
from storage.database import Database
from storage.notifications import NewNotification, add_notification, is_told
from storage.pairs import apply_side
from storage.relationships import fetch_relationships, fetch_truth


@dataclasses.dataclass(frozen=True, slots=True)
class _News:
    """What a fact is news of, to whom, and the state that the follow must still be in for it to be true."""

    kind: NotificationKind
    state: FollowState
    to_follower: bool = False

    def still_true(self, side: Relationship, now: dt.datetime) -> bool:
        state = side.follows if self.to_follower else side.followed_by
        return state is self.state and not side.mutes_at(now)


_NEWS: Final = {
    EventType.FOLLOW_CREATED: _News(NotificationKind.FOLLOW, FollowState.ACTIVE),
    EventType.FOLLOW_REQUESTED: _News(NotificationKind.FOLLOW_REQUEST, FollowState.PENDING),
    EventType.FOLLOW_ACCEPTED: _News(NotificationKind.FOLLOW_ACCEPTED, FollowState.ACTIVE, to_follower=True),
}


class Handlers:
    """What this service itself does about facts."""

    def __init__(self, database: Database, redis: Client) -> None:
        self._database = database
        self._redis = redis
        self._effects: tuple[Callable[[ReceivedEvent], Awaitable[None]], ...] = (self._mirror, self._notify)

    async def handle(self, event: ReceivedEvent) -> None:
        """Have every effect of a fact, in order.

        Raises:
            Overloaded: a cell does not answer; the fact is to be repeated.
        """
        for effect in self._effects:
            await effect(event)

    async def _mirror(self, event: ReceivedEvent) -> None:
        """Bring the row that does not decide up to date, where the two people live in different cells.

        The row that decides is read now: a late or repeated fact brings the state of today, not that of its own time.
        """
        pair = self._pair(event)
        if pair is None or self._database.shards.home(pair[0]) is self._database.shards.home(pair[1]):
            return
        low, high = sorted(pair)
        await apply_side(self._database, high, low, await fetch_truth(self._database, low, high))

    async def _notify(self, event: ReceivedEvent) -> None:
        """Tell the one whom the other's action concerns, unless it was undone meanwhile or the other is muted."""
        pair = self._pair(event)
        if pair is None or event.type not in _NEWS:
            return
        news, (follower, followee) = _NEWS[event.type], pair
        owner, actor = (follower, followee) if news.to_follower else (followee, follower)
        if await is_told(self._database, owner, event.id):
            return
        sides = await fetch_relationships(self._database, owner, [actor])
        if news.still_true(sides.get(actor, STRANGERS), dt.datetime.now(dt.UTC)):
            await add_notification(self._database, NewNotification(owner, event.id, news.kind, actor, event.time))
            await wake(self._redis, owner)

    def _pair(self, event: ReceivedEvent) -> tuple[int, int] | None:
        """Give (follower, followee) or (blocker, blocked) of a fact about two people."""
        match event.payload:
            case FollowPayload(follower_id=one, followee_id=other):
                return self._internal(one), self._internal(other)
            case BlockPayload(blocker_id=one, blocked_id=other):
                return self._internal(one), self._internal(other)
            case _:
                return None

    def _internal(self, opaque_id: str) -> int:
        user_id = self._database.ids.decode(NodeType.USER, opaque_id)
        if user_id is None:
            raise UnreadableRecord("an id was made under another key")
        return user_id
