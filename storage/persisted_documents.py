"""Documents that clients keep here under their hashes, in Redis.

Anybody may keep one, so the place for them is bounded by its form: a fixed number of slots, each for one document of a
bounded size, and the hash names the slot. Of two documents of one slot the later stays; clients send the other again.
"""

from typing import Final

from storage.redis_client import CacheUnavailable, Redis

SLOTS: Final = 8192
MAX_BYTES: Final = 16_384
"""All slots together never hold more than 128 MiB."""
LIVES_S: Final = 86_400


def slot_key(sha256: str) -> str:
    """Name the slot of a hash (64 hexadecimal digits)."""
    return f"document:{int(sha256[:8], 16) % SLOTS}"


class PersistedInRedis:
    """Documents that every process of the service can find. Redis that is away holds none."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def fetch(self, sha256: str) -> bytes | None:
        """Give what lies in the slot of a hash: perhaps another document than the one that was meant."""
        try:
            found: bytes | None = await self._redis.run(lambda client: client.get(slot_key(sha256)))
        except CacheUnavailable:
            return None
        return found

    async def keep(self, sha256: str, document: bytes) -> None:
        """Keep a document for a day, if it is not too large."""
        if len(document) > MAX_BYTES:
            return
        try:
            await self._redis.run(lambda client: client.set(slot_key(sha256), document, ex=LIVES_S))
        except CacheUnavailable:
            return
