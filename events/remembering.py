"""What events do about what is remembered in Redis, in case their makers could not: and the sets of blocks."""

import contextlib
import datetime as dt
from typing import Final, Protocol

from domain.events import BlockPayload, FollowPayload, MutePayload, UserPayload
from events.people import internal_of, pair_of
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

    payload = event.payload
    if isinstance(payload, UserPayload):
        await database.freshness.user_heard(internal_of(database.ids, payload.user_id), payload.user_version)
    elif isinstance(payload, MutePayload):
        muter_id = internal_of(database.ids, payload.muter_id)
        await database.freshness.pair_changed(muter_id, muter_id, stricter=False)
    elif isinstance(payload, FollowPayload | BlockPayload) and (pair := pair_of(database.ids, event)):
        await database.freshness.pair_heard(*pair, payload.pair_version)
        if isinstance(payload, BlockPayload):
            with contextlib.suppress(CacheUnavailable):  # it lapses by itself, and the next block writes it whole
                await write_block_set(database, redis, pair[0], now)


class Rememberer(Protocol):
    """Whoever remembers facts about people in this process."""

    def forget_below(self, user_id: int, version: int) -> None:
        """Forget a profile that is older than a version."""


def forget_what_changed(database: Database, rememberer: Rememberer, event: ReceivedEvent) -> None:
    """Let a process forget what a fact has ended; what cannot be read is somebody else's to look into."""
    with contextlib.suppress(UnreadableRecord):
        if isinstance(event.payload, UserPayload):
            payload = event.payload
            rememberer.forget_below(internal_of(database.ids, payload.user_id), payload.user_version)
