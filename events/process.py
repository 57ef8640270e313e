"""What every background process is made of: settings, logs, metrics, the cells, and a clean stop on SIGTERM."""

import asyncio
import contextlib
import dataclasses
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import uvloop

from domain.digests import Digests
from domain.ids import OpaqueIds
from embedded.addresses import Addresses
from embedded.configured import find_addresses
from events.health import Health
from keys import Keys, load_keys, load_master_keys
from logs import configure_logs
from settings import Settings, leaving_on_bad_settings, load_or_exit
from storage.cells import open_cells
from storage.database import Database
from storage.freshness import open_freshness
from storage.key_service import KeyServiceAddress, open_master_keys
from storage.redis_client import open_redis
from storage.vault import Vault

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
STOP_TIMEOUT_S: Final = 8.0


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """What a background process works on."""

    settings: Settings
    addresses: Addresses
    database: Database
    keys: Keys

    @contextlib.asynccontextmanager
    async def open_vault(self) -> AsyncIterator[Vault]:
        """Open what encrypts personal data; raises SettingsError where the master keys cannot be had."""
        address = KeyServiceAddress.of(*self.settings.key_service)
        async with open_master_keys(load_master_keys(self.settings), address) as masters:
            yield Vault(masters)


def backoffs() -> Iterator[float]:
    """Give pauses in seconds: 0.1, doubling to 5, each shortened by chance up to a half."""
    pause = _FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret: it keeps processes from pacing together
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def run_process(main: Callable[[Process], Awaitable[None]]) -> None:
    """Run a background process until SIGTERM or SIGINT, which cancel `main` and give it 8 s to finish."""
    settings = load_or_exit()
    configure_logs()
    with contextlib.suppress(asyncio.CancelledError), leaving_on_bad_settings():
        uvloop.run(_supervised(settings, main))


async def _supervised(settings: Settings, main: Callable[[Process], Awaitable[None]]) -> None:
    with contextlib.ExitStack() as stack:
        health = Health()
        if settings.metrics_port is not None:
            stack.enter_context(health.served(settings.host, settings.metrics_port))
        async with _opened(settings, health) as process:
            task = asyncio.ensure_future(main(process))

            def stop() -> None:
                """Finish; where what is worked on is gone as well, and closing hangs, end all the same."""
                task.cancel()
                loop.call_later(STOP_TIMEOUT_S, os._exit, 1)

            loop = asyncio.get_running_loop()
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(signum, stop)
            await task


@contextlib.asynccontextmanager
async def _opened(settings: Settings, health: Health) -> AsyncIterator[Process]:
    addresses = find_addresses(settings)
    async with (
        open_cells(addresses.postgres_dsns, connections=8) as shards,
        open_redis(addresses.redis_url) as redis,
        open_freshness(shards, redis) as freshness,
    ):
        health.watch({f"cell {cell.number}": cell.ping for cell in shards.cells}, {"redis": redis.ping})
        keys = load_keys(settings)
        database = Database(shards, OpaqueIds(keys.opaque_ids), freshness, digests=Digests(keys.audit_digests))
        yield Process(settings, addresses, database, keys)
