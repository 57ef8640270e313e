"""Whom a person blocks, as a set in Redis for services that filter by it: `block:{<id>}`, of ids as clients hold them.

The member `loaded` says that the set is whole. A key that is not there says nothing: ask the API, or listen to
`user.blocked` and `user.unblocked`.
"""

import datetime as dt
from typing import Any, Final

from domain.ids import NodeType
from storage.database import Database
from storage.redis_client import Redis

LOADED: Final = "loaded"
LIVES_S: Final = 86_400

_FETCH: Final = """
SELECT other_id FROM relationships
WHERE owner_id = $1 AND blocks AND (blocks_until IS NULL OR blocks_until > $2)
"""


def block_set_key(opaque_id: str) -> str:
    """Name the key of a person's set."""
    return f"block:{{{opaque_id}}}"


async def write_block_set(database: Database, redis: Redis, blocker_id: int, now: dt.datetime) -> None:
    """Write a person's set anew, whole; raises CacheUnavailable and Overloaded."""
    rows = await database.shards.home(blocker_id).fetch(_FETCH, blocker_id, now)
    members = [database.ids.encode(NodeType.USER, row["other_id"]) for row in rows]
    key = block_set_key(database.ids.encode(NodeType.USER, blocker_id))

    async def work(client: Any) -> None:
        pipeline: Any = client.pipeline(transaction=True)
        pipeline.delete(key)
        pipeline.sadd(key, LOADED, *members)
        pipeline.expire(key, LIVES_S)
        await pipeline.execute()

    await redis.run(work)
