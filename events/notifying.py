"""Telling people: which fact is news to whom, whether it still is, and what its reader wants of such news."""

import datetime as dt
from collections.abc import Mapping
from typing import Final

from domain.events import EventType, FollowPayload
from domain.ids import made_at
from domain.notification_preferences import NotificationPreferences, NotificationTreatment, treat
from domain.notifications import NotificationKind
from domain.relationships import Relationship
from events.records import ReceivedEvent
from storage.channels import wake
from storage.database import Database
from storage.notification_preferences import fetch_notification_preferences
from storage.notifications import Decide, NewNotification, add_notification, is_dealt_with
from storage.redis_client import Redis

KINDS: Final[Mapping[EventType, NotificationKind]] = {
    EventType.FOLLOW_CREATED: NotificationKind.FOLLOW,
    EventType.FOLLOW_REQUESTED: NotificationKind.FOLLOW_REQUEST,
    EventType.FOLLOW_ACCEPTED: NotificationKind.FOLLOW_ACCEPTED,
}
"""What people are told of."""


async def notify(database: Database, redis: Redis, event: ReceivedEvent, pair: tuple[int, int]) -> None:
    """Tell the one whom the other's action concerns, once, unless it was undone meanwhile or is not wanted.

    `pair` is (follower, followee); the owner's side of it must have been brought up to date before. What came back with
    a person who was gone is news to nobody.
    """
    kind = KINDS.get(event.type)
    if kind is None or not isinstance(event.payload, FollowPayload) or event.payload.restored:
        return
    owner, actor = pair if kind is NotificationKind.FOLLOW_ACCEPTED else pair[::-1]
    if await is_dealt_with(database, owner, event.id):
        return
    preferences = await fetch_notification_preferences(database, owner)
    new = NewNotification(owner, event.id, kind, actor, event.time)
    treatment = await add_notification(database, new, _decide(new, preferences, event.payload.pair_version))
    if treatment is NotificationTreatment.ACCEPT:
        await wake(redis, owner)


def _decide(new: NewNotification, preferences: NotificationPreferences, pair_version: int) -> Decide:
    now = dt.datetime.now(dt.UTC)
    age = now - made_at(new.actor_id)

    def decide(side: Relationship) -> NotificationTreatment | None:
        if not new.kind.is_current(side, pair_version):
            return None
        if side.mutes_at(now):
            return NotificationTreatment.DROP
        return treat(preferences, side, age)

    return decide
