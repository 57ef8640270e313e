"""Follows somebody in the name of a repeatable mutation, and dies before it answers; for one test."""

import asyncio
import datetime as dt
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from domain import transitions
from domain.ids import OpaqueIds
from domain.repeats import RepeatKeys, current_effects
from resolvers.repeats import Repeats, Response
from storage.cells import open_cells
from storage.database import Database
from storage.pairs import change_pair


async def main() -> None:
    """Do it."""
    asked = json.loads(sys.argv[1])
    key = bytes.fromhex(asked["key"])
    async with open_cells(asked["dsns"]) as shards:
        database = Database(shards, OpaqueIds(key))

        async def run() -> Response:
            effects = current_effects()
            if effects is not None:
                effects.begin_field()
            transition = transitions.follow(target_is_private=False)
            await change_pair(database, asked["ana"], asked["bo"], transition, dt.datetime.now(dt.UTC))
            os.kill(os.getpid(), signal.SIGKILL)
            return {}

        await Repeats(database, RepeatKeys(key)).once(asked["ana"], asked["name"], b"what is asked", run)


if __name__ == "__main__":
    asyncio.run(main())
