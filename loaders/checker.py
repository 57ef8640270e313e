"""Compares everything that is remembered, in Redis and in the web processes of a development run, with the database.

python -m loaders.checker [--origin http://127.0.0.1:8000 ...]
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import sys
import urllib.request
from collections.abc import Sequence
from typing import Final

import uvloop

from domain.ids import OpaqueIds
from embedded.configured import find_addresses
from keys import load_keys
from loaders.caches import open_caches
from loaders.comparison import Report, compare
from loaders.inspection import Line
from settings import load_or_exit
from storage.cells import open_cells
from storage.redis_client import open_redis

DEFAULT_ORIGIN: Final = "http://127.0.0.1:8000"
PATH: Final = "/debug/memory"
ASKED_TIMES: Final = 16
"""How often one address is asked for its memory: as many processes may share it as there are chances to meet them."""
_AGAIN_AFTER_S: Final = 1.0


def fetch_memory(origin: str) -> dict[str, list[Line]]:
    """Ask the processes behind an address what they remember."""
    found: dict[str, list[Line]] = {}
    for _ in range(ASKED_TIMES):
        with urllib.request.urlopen(origin + PATH) as response:  # noqa: S310 - the operator's own address
            told = json.load(response)
        found[f"{origin} {told['pid']}"] = [Line(**line) for line in told["entries"]]
    return found


async def _run(origins: Sequence[str]) -> int:
    settings = load_or_exit()
    addresses = find_addresses(settings)
    ids = OpaqueIds(load_keys(settings).opaque_ids)
    async with (
        open_cells(addresses.postgres_dsns) as shards,
        open_redis(addresses.redis_url) as redis,
        open_caches(shards, ids, redis) as caches,
    ):

        async def look() -> Report:
            memories = await asyncio.gather(*(asyncio.to_thread(fetch_memory, origin) for origin in origins))
            return await compare(caches, redis, dict(itertools.chain.from_iterable(map(dict.items, memories))))

        report = await look()
        if report.stale:  # what changed while it was compared differs once, not twice
            await asyncio.sleep(_AGAIN_AFTER_S)
            report = dataclasses.replace(report, stale=report.stale & (await look()).stale)
    for where, number in report.compared.items():
        sys.stdout.write(f"{where}: {number} entries compared\n")
    for entry in report.stale:
        sys.stdout.write(f"staler than the database: {entry.kind} {entry.key} in {entry.where}\n")
    sys.stdout.write(f"{len(report.stale)} entries are staler than the database\n")
    return 1 if report.stale else 0


def main() -> None:
    """Compare once, and leave with status 1 where something is stale."""
    parser = argparse.ArgumentParser(description="Compare everything that is remembered with the database.")
    parser.add_argument("--origin", action="append", help=f"a web server in development; {DEFAULT_ORIGIN} if none")
    arguments = parser.parse_args()
    raise SystemExit(uvloop.run(_run(arguments.origin or [DEFAULT_ORIGIN])))


if __name__ == "__main__":
    main()
