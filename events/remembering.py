"""What events do about what is remembered in Redis, in case their makers could not: and the sets of blocks."""

import contextlib
import datetime as dt
from typing import Final

from domain.events import BlockPayload, FollowPayload, UserPayload
from domain.ids import NodeType
from domain.users import User
from events.records import ReceivedEvent, UnreadableRecord
from storage.block_sets import write_block_set
from storage.database import Database
from storage.redis_client import CacheUnavailable, Redis
from storage.users import fetch_users

FORGOTTEN_BY: Final = dt.timedelta(minutes=15)
"""By this age of a fact nothing from before it is left, whatever its maker could do."""


async def refresh(database: Database, redis: Redis, event: ReceivedEvent) -> None:
    """See to it that nothing from before a fact is found in Redis; may be repeated."""
    now = dt.datetime.now(dt.UTC)
    if now - event.time > FORGOTTEN_BY:
        return

    async def fetch(user_id: int) -> User | None:
        found = await fetch_users(database, [user_id])
        return found[user_id][0] if user_id in found else None

    match event.payload:
        case FollowPayload(follower_id=one, followee_id=other, pair_version=version):
            await database.freshness.pair_heard(_internal(database, one), _internal(database, other), version)
        case BlockPayload(blocker_id=one, blocked_id=other, pair_version=version):
            await database.freshness.pair_heard(_internal(database, one), _internal(database, other), version)
            with contextlib.suppress(CacheUnavailable):  # it lapses by itself, and the next block writes it whole
                await write_block_set(database, redis, _internal(database, one), now)
        case UserPayload(user_id=one, user_version=version):
            await database.freshness.user_heard(_internal(database, one), version, fetch)
        case _:
            pass


def people_of(database: Database, event: ReceivedEvent) -> list[int]:
    """Give those about whom a fact says something that may be remembered."""
    match event.payload:
        case FollowPayload(follower_id=one, followee_id=other) | BlockPayload(blocker_id=one, blocked_id=other):
            return [_internal(database, one), _internal(database, other)]
        case UserPayload(user_id=one):
            return [_internal(database, one)]
        case _:
            return []


def _internal(database: Database, opaque_id: str) -> int:
    user_id = database.ids.decode(NodeType.USER, opaque_id)
    if user_id is None:
        raise UnreadableRecord("an id was made under another key")
    return user_id
