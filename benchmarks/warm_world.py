"""The named world on real parts, and a process that remembers all of it: what is left to measure is computing."""

import asyncio
import contextlib
import itertools
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from domain.ids import OpaqueIds
from domain.pages import Cursors
from embedded import Part, Services
from loaders import Caches
from resolvers.consistency import ConsistencyTokens
from resolvers.context import Backend
from storage.cells import open_cells
from storage.channels import Listeners
from storage.database import Database
from storage.epochs import Beat, Pulse
from storage.master_keys import LocalMasterKeys
from storage.migrate import migrate
from storage.named_world import seed_named_world
from storage.outbox import Bell
from storage.redis_client import Redis, open_redis
from storage.vault import Vault

_LOOKED: Final = 0.1


class _Still(Pulse):
    """Answers without Redis: over HTTP all requests of one tick share that look, here they would come one by one."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, lambda _people: None, lambda: None)
        self._ended = Beat()
        self._ended.end(alive=True)

    async def read(self, viewer_id: int | None) -> bytes | None:
        return self.join(viewer_id).epoch_of(viewer_id)

    def join(self, viewer_id: int | None) -> Beat:
        beat = self._ended
        if viewer_id is not None:
            beat.viewers[viewer_id] = viewer_id.to_bytes(8)
        return beat


@contextlib.asynccontextmanager
async def warm_world(folder: Path) -> AsyncIterator[tuple[Backend, dict[str, int]]]:
    """Open a backend over the named world; gives the ids of the named people too. What is read once is remembered."""
    ids = OpaqueIds(secrets.token_bytes(32))
    still = itertools.repeat(time.monotonic()).__next__  # so that nothing that is remembered grows old
    parts = frozenset({Part.POSTGRES, Part.VALKEY})
    async with contextlib.AsyncExitStack() as stack:
        services = await stack.enter_async_context(Services(folder, cells=1, parts=parts, report=lambda _line: None))
        addresses = services.addresses
        await migrate(addresses.postgres_dsns, lambda _line: None)
        shards = await stack.enter_async_context(open_cells(addresses.postgres_dsns))
        people = await seed_named_world(Database(shards, ids), lambda _line: None)
        redis = await stack.enter_async_context(open_redis(addresses.redis_url))
        listeners = await stack.enter_async_context(Listeners(addresses.redis_url))
        caches = Caches(shards, ids, redis, clock=still)
        caches.pulse = _Still(redis)
        async with caches.generations.watched():
            while caches.generations.of(0) is None:
                await asyncio.sleep(_LOOKED)
        bell = Bell()
        stack.push_async_callback(bell.close)
        key = secrets.token_bytes(32)
        vault = Vault(LocalMasterKeys({1: key}))
        yield Backend(caches, Cursors(key), ConsistencyTokens(key), listeners, bell, vault), people
        await caches.settle()
