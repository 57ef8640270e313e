"""Let the next key sign tokens: `python -m identity.rotate_keys`, now and then; nobody notices.

`--at-once` is for when the key that signs was stolen: every token that it signed is refused within minutes.
"""

import argparse
import asyncio
import datetime as dt
import sys

from identity.addresses import find_dsn
from identity.database import open_database
from identity.signing_keys import KNOWN_AFTER, SigningKeys, TooSoon
from keys import load_keys
from settings import Service, load_or_exit


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m identity.rotate_keys", description="Let the next key sign tokens.")
    parser.add_argument("--at-once", action="store_true", help="also where it is not known everywhere yet")
    at_once: bool = parser.parse_args().at_once
    settings = load_or_exit(service=Service.IDENTITY)
    keys = SigningKeys(load_keys(settings).signing_keys)
    async with open_database(find_dsn(settings)) as database:
        try:
            async with database.transaction() as connection:
                kid = await keys.rotate(connection, dt.datetime.now(dt.UTC), at_once=at_once)
        except TooSoon:
            minutes = KNOWN_AFTER // dt.timedelta(minutes=1)
            sys.stderr.write(f"kith: the next key is published for less than {minutes} minutes; wait, or --at-once.\n")
            return 1
    sys.stdout.write(f"{kid} signs from now on.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(_main()))
