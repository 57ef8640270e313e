"""Telling people: which fact is news to whom, and whether it still is."""

import datetime as dt
from collections.abc import Mapping
from typing import Final

from domain.events import EventType
from domain.notifications import NotificationKind
from domain.relationships import STRANGERS, FollowState, Relationship
from events.records import ReceivedEvent
from storage.channels import wake
from storage.database import Database
from storage.notifications import NewNotification, add_notification, is_told
from storage.redis_client import Redis
from storage.relationships import fetch_relationships

KINDS: Final[Mapping[EventType, NotificationKind]] = {
    EventType.FOLLOW_CREATED: NotificationKind.FOLLOW,
    EventType.FOLLOW_REQUESTED: NotificationKind.FOLLOW_REQUEST,
    EventType.FOLLOW_ACCEPTED: NotificationKind.FOLLOW_ACCEPTED,
}
"""What people are told of."""


async def notify(database: Database, redis: Redis, event: ReceivedEvent, pair: tuple[int, int]) -> None:
    """Tell the one whom the other's action concerns, once, unless it was undone meanwhile or the other is muted.

    `pair` is (follower, followee). The owner's side of the pair must have been brought up to date before.
    """
    kind = KINDS.get(event.type)
    if kind is None:
        return
    owner, actor = pair if kind is NotificationKind.FOLLOW_ACCEPTED else pair[::-1]
    if await is_told(database, owner, event.id):
        return
    sides = await fetch_relationships(database, owner, [actor])
    if _still_true(kind, sides.get(actor, STRANGERS), dt.datetime.now(dt.UTC)):
        await add_notification(database, NewNotification(owner, event.id, kind, actor, event.time))
        await wake(redis, owner)


def _still_true(kind: NotificationKind, side: Relationship, now: dt.datetime) -> bool:
    state = side.follows if kind is NotificationKind.FOLLOW_ACCEPTED else side.followed_by
    expected = FollowState.PENDING if kind is NotificationKind.FOLLOW_REQUEST else FollowState.ACTIVE
    return state is expected and not side.mutes_at(now)
