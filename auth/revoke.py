"""Revoke tokens: `python -m auth.revoke NAME` ends all that a person has until now, `--session SID` those of a session.

For operators: every server refuses them within a second, and closes the connections that they opened.
"""

import argparse
import asyncio
import sys
import time

from auth.issuers import DEVELOPMENT_LIFE_S, LONGEST_LIFE_S, issues_development_tokens
from domain.ids import OpaqueIds
from domain.revocations import Revocation, RevocationKind
from domain.usernames import username_key
from embedded.configured import find_addresses
from keys import load_keys
from settings import load_or_exit
from storage.cells import open_cells
from storage.database import Database
from storage.freshness import open_freshness
from storage.redis_client import open_redis
from storage.revocations import revoke
from storage.users import fetch_ids_by_name


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m auth.revoke", description="Revoke a person's access tokens.")
    parser.add_argument("name", help="a username, such as ana")
    parser.add_argument("--session", help="the `sid` of the tokens, where only one session is to end")
    return parser.parse_args()


async def _main() -> int:
    arguments, settings = _arguments(), load_or_exit()
    addresses, ids = find_addresses(settings), OpaqueIds(load_keys(settings).opaque_ids)
    life = DEVELOPMENT_LIFE_S if issues_development_tokens(settings) else LONGEST_LIFE_S
    async with (
        open_cells(addresses.postgres_dsns) as shards,
        open_redis(addresses.redis_url) as redis,
        open_freshness(shards, redis) as freshness,
    ):
        database = Database(shards, ids, freshness)
        found = await fetch_ids_by_name(database, [username_key(arguments.name) or ""])
        if not found:
            sys.stderr.write(f"kith: nobody is named {arguments.name!r}.\n")
            return 1
        kind = RevocationKind.SESSION if arguments.session else RevocationKind.EARLIER
        now = time.time()
        for user_id in found.values():
            await revoke(database, Revocation(user_id, kind, arguments.session or "", now, now + life))
    sys.stdout.write("Revoked.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(_main()))
