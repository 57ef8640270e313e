"""A Valkey cluster of a test's own: three masters, each with a replica; slots may be moved and masters killed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import redis.asyncio as aioredis
from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.conftest import eventually
from tests.valkey import Server

MASTERS: Final = 3
SLOTS: Final = 16_384
WITHIN_S: Final = 120.0
OPTIONS: Final = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-replica-validity-factor", "0"),
    *("--repl-diskless-sync-delay", "0", "--cluster-allow-replica-migration", "no"),
)


async def tell(server: Server, *words: object) -> Any:
    """Send one command to one node; raises RedisError."""
    async with aioredis.Redis(host="127.0.0.1", port=server.port, socket_timeout=10) as client:
        execute: Any = client.execute_command
        return await execute(*words)


class Cluster:
    """The nodes, the masters first."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Server(folder, *OPTIONS) for _ in range(2 * MASTERS)]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    async def form(self) -> None:
        """Let the nodes meet, share out the slots, and give each master its replica."""
        for node in self.nodes:
            await eventually(lambda node=node: _answers(node), within=WITHIN_S)  # type: ignore[misc]
        per_master = SLOTS // MASTERS
        for number, node in enumerate(self.nodes):
            await tell(node, "CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number < MASTERS:
                last = SLOTS - 1 if number == MASTERS - 1 else (number + 1) * per_master - 1
                await tell(node, "CLUSTER ADDSLOTSRANGE", number * per_master, last)
            first = self.nodes[0]
            await tell(node, "CLUSTER MEET", "127.0.0.1", first.port, first.bus)
        await eventually(lambda: self._agree(2 * MASTERS), within=WITHIN_S)
        for number, node in enumerate(self.nodes[MASTERS:]):
            await tell(node, "CLUSTER REPLICATE", (await tell(self.nodes[number], "CLUSTER MYID")).decode())
        for node in self.nodes[MASTERS:]:
            await eventually(lambda node=node: _follows(node), within=WITHIN_S)  # type: ignore[misc]
        await eventually(lambda: self._agree(2 * MASTERS), within=WITHIN_S)

    async def master_of(self, key: str) -> Server:
        """Give the node that serves a key now."""
        slot = key_slot(key.encode())
        alive = next(node for node in self.nodes if node.process.poll() is None)
        for first, last, (_, port, *_), *_ in await tell(alive, "CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise LookupError(key)

    async def move(self, key: str) -> None:
        """Move the slot of a key, with all that is in it, to another master."""
        slot, source = key_slot(key.encode()), await self.master_of(key)
        others = [node for node in self.nodes if node.process.poll() is None and await _leads(node) and node != source]
        target = others[0]
        [old, new] = [(await tell(node, "CLUSTER MYID")).decode() for node in (source, target)]
        await tell(target, "CLUSTER SETSLOT", slot, "IMPORTING", old)
        await tell(source, "CLUSTER SETSLOT", slot, "MIGRATING", new)
        while keys := await tell(source, "CLUSTER GETKEYSINSLOT", slot, 100):
            await tell(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)
        for node in (target, source, *others[1:]):
            await tell(node, "CLUSTER SETSLOT", slot, "NODE", new)

    async def failed_over(self, key: str, gone: Server) -> None:
        """Wait until another node serves a key."""

        async def serves() -> bool:
            return (await self.master_of(key)).port != gone.port

        await eventually(serves, within=WITHIN_S)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    async def _agree(self, number: int) -> bool:
        for node in self.nodes:
            about, known = await tell(node, "CLUSTER INFO"), await tell(node, "CLUSTER NODES")
            if about["cluster_state"] != "ok" or sum(other["connected"] for other in known.values()) < number:
                return False
        return True


async def _answers(node: Server) -> bool:
    with contextlib.suppress(RedisError, OSError):
        await tell(node, "PING")
        return True
    return False


async def _follows(node: Server) -> bool:
    return bool((await tell(node, "ROLE"))[3] == b"connected")


async def _leads(node: Server) -> bool:
    return bool((await tell(node, "ROLE"))[0] == b"master")


@contextlib.asynccontextmanager
async def open_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Run a cluster that has formed."""
    cluster = Cluster(folder)
    try:
        async with asyncio.timeout(WITHIN_S * 2):
            await cluster.form()
        yield cluster
    finally:
        cluster.stop()
