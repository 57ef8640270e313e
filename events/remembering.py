"""What events do about what is remembered in Redis, in case their makers could not: and the sets of blocks."""

import contextlib
import datetime as dt
from collections.abc import Collection
from typing import Final, Protocol

from domain.events import BlockPayload, FollowPayload, UserPayload
from domain.ids import NodeType
from events.records import ReceivedEvent, UnreadableRecord
from storage.block_sets import write_block_set
from storage.database import Database
from storage.redis_client import CacheUnavailable, Redis

FORGOTTEN_BY: Final = dt.timedelta(minutes=15)
"""By this age of a fact nothing from before it is left, whatever its maker could do."""


async def refresh(database: Database, redis: Redis, event: ReceivedEvent) -> None:
    """See to it that nothing from before a fact is found in Redis; may be repeated."""
    now = dt.datetime.now(dt.UTC)
    if now - event.time > FORGOTTEN_BY:
        return

    match event.payload:
        case FollowPayload(follower_id=one, followee_id=other, pair_version=version):
            await database.freshness.pair_heard(_internal(database, one), _internal(database, other), version)
        case BlockPayload(blocker_id=one, blocked_id=other, pair_version=version):
            await database.freshness.pair_heard(_internal(database, one), _internal(database, other), version)
            with contextlib.suppress(CacheUnavailable):  # it lapses by itself, and the next block writes it whole
                await write_block_set(database, redis, _internal(database, one), now)
        case UserPayload(user_id=one, user_version=version):
            await database.freshness.user_heard(_internal(database, one), version)
        case _:
            pass


class Rememberer(Protocol):
    """Whoever remembers facts about people in this process."""

    def forget(self, user_ids: Collection[int]) -> None:
        """Forget what is about people."""

    def forget_below(self, user_id: int, version: int) -> None:
        """Forget a profile that is older than a version."""


def forget_what_changed(database: Database, rememberer: Rememberer, event: ReceivedEvent) -> None:
    """Let a process forget what a fact has ended; what cannot be read is somebody else's to look into."""
    with contextlib.suppress(UnreadableRecord):
        match event.payload:
            case FollowPayload(follower_id=one, followee_id=other) | BlockPayload(blocker_id=one, blocked_id=other):
                rememberer.forget((_internal(database, one), _internal(database, other)))
            case UserPayload(user_id=one, user_version=version):
                rememberer.forget_below(_internal(database, one), version)
            case _:
                pass


def _internal(database: Database, opaque_id: str) -> int:
    user_id = database.ids.decode(NodeType.USER, opaque_id)
    if user_id is None:
        raise UnreadableRecord("an id was made under another key")
    return user_id
