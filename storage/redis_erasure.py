"""Erasing what Redis holds of one person: everything in the slot of the person's id."""

from typing import Any, Final

from domain.ids import NodeType
from storage.block_sets import block_set_key
from storage.database import Database
from storage.epochs import epoch_key, profile_epoch_key
from storage.generations import fetch_generation
from storage.redis_client import Redis

REMEMBERED: Final = ("user", "tally", "followers", "following", "side", "blocks")
"""The kinds of facts that are remembered under one id; those under two live for 10 minutes and hold ids alone."""
FORMER: Final = 16
"""Nothing of a former generation is read any more, but it lies there for its 10 minutes: so many are erased as well."""


def remembered_keys(generation: int, user_id: int) -> list[str]:
    """Name the keys under which facts about a person are remembered in a generation."""
    return [f"{kind}{generation}:{{{user_id}}}" for kind in REMEMBERED]


async def erase_in_redis(database: Database, redis: Redis, user_id: int) -> int:
    """Delete a person's keys, epochs too; gives how many there were.

    Raises:
        CacheUnavailable: Redis did not confirm it; it may be repeated.
    """
    generation = await fetch_generation(database.shards.home(user_id))
    opaque = database.ids.encode(NodeType.USER, user_id)
    keys = [
        *(key for former in range(FORMER + 1) for key in remembered_keys(generation - former, user_id)),
        epoch_key(user_id),
        profile_epoch_key(user_id),
        f"told:{{{user_id}}}",
        block_set_key(opaque),
    ]

    async def work(client: Any) -> int:
        pipeline: Any = client.pipeline(transaction=False)
        for key in keys:
            pipeline.unlink(key)
        return sum(await pipeline.execute())

    return await redis.run(work)
