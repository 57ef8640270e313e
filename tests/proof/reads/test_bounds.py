"""What a process remembers stays within the bytes that it may have, whoever reads how many: a long proof."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from embedded import Addresses
from tests.acceptance.main_job import ROOT
from tests.valkey import Server

LONG = os.environ.get("PROVE") == "long"
KEYS, KEYS_WITHOUT_BOUND = 1_000_000, 100_000
BOUND, NO_BOUND = 64, 65_536
MEGABYTE = 1024 * 1024
WITHIN_S = 3600.0


async def read_many(addresses: Addresses, server: Server, keys: int, megabytes: int) -> dict[str, int]:
    """Read in a process of its own, and give its figures."""
    command = [
        sys.executable,
        "-m",
        "tests.proof.reads.million",
        "--forever",
        "--keys",
        str(keys),
        "--megabytes",
        str(megabytes),
    ]
    where = ["--redis", server.url, "--dsns", addresses.postgres_dsns[0]]
    process = await asyncio.create_subprocess_exec(*command, *where, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == 0
    figures: dict[str, int] = json.loads(output)
    sys.stdout.write(
        f"{keys} keys in {megabytes} MB: {figures}, grew by {(figures['most'] - figures['before']) >> 20} MB\n"
    )
    return figures


@pytest.mark.skipif(not LONG, reason="a million people are read in the long proof")
async def test_a_million_people_read_stay_within_the_bound(addresses: Addresses, short_folder: Path) -> None:
    server = Server(short_folder, "--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru")
    try:
        figures = await read_many(addresses, server, KEYS, BOUND)
        assert figures["most"] - figures["before"] < BOUND * MEGABYTE
        unbound = await read_many(addresses, server, KEYS_WITHOUT_BOUND, NO_BOUND)
        assert unbound["most"] - unbound["before"] > BOUND * MEGABYTE, "without the bound it would not have"
    finally:
        server.stop()
