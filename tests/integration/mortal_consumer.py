"""A consumer that dies by SIGKILL after so many effects, before the offset is committed."""

import asyncio
import os
import signal
import sys

from domain.ids import OpaqueIds, new_id
from events.consumer import Consumer
from events.effects import Subscription
from events.letters import Letters
from events.records import ReceivedEvent
from storage.cells import Connection, open_cells
from storage.database import Database
from storage.inbox import have_once

OWNER = new_id(0, at_ms=1_700_000_000_000) >> 12 << 12


async def main(bootstrap: str, group: str, dsn: str, inbox: str, dies_after: str) -> None:
    async with open_cells([dsn], connections=4) as shards:
        database = Database(shards, OpaqueIds(bytes(32)))
        had = 0

        async def handle(event: ReceivedEvent) -> None:
            nonlocal had

            async def effect(connection: Connection) -> None:
                await connection.execute("INSERT INTO effects (event_id) VALUES ($1)", event.id)

            if inbox == "inbox":
                is_new = await have_once(database, OWNER, group, event.id, effect)
            else:
                await database.shards.directory.transact(effect)
                is_new = True
            had += is_new
            if str(had) == dies_after:
                os.kill(os.getpid(), signal.SIGKILL)

        subscription = Subscription(group, ("users.v1",), handle)
        task = asyncio.ensure_future(
            Consumer(bootstrap, subscription, Letters(database, group), session_timeout_ms=2000).run()
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
