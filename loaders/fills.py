"""What was read, on its way to Redis while nobody waits for it: what comes within a moment goes together."""

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from loaders.kinds import Kind
from loaders.metrics import reads
from storage.entries import Stamped, Versioned, write
from storage.redis_client import CacheUnavailable, Redis

UNDER_WAY: Final = 64
"""How many times at once something is stored."""
TOGETHER_S: Final = 0.004
"""How long the first waits for others: less than another process waits for what this one has claimed to fill."""


class Fill(NamedTuple):
    """Values of one kind to store, each under its name, and under the epoch that it was read with, if any."""

    kind: Kind[Any, Any]
    names: Mapping[Any, str]
    values: Mapping[Any, Any]
    epochs: Mapping[Any, bytes]

    def stamped(self) -> list[Stamped]:
        """Give the values as they are stored under epochs."""
        kind, epoch_of = self.kind, self.kind.epoch_of
        if epoch_of is None:
            return []
        return [
            Stamped(self.names[key], epoch_of(key), self.epochs[key], kind.encode(value), kind.ttl_of(value))
            for key, value in self.values.items()
        ]

    def versioned(self) -> list[Versioned]:
        """Give the values as they are stored by version."""
        kind, version_of = self.kind, self.kind.version_of
        if version_of is None:
            return []
        return [
            Versioned(self.names[key], version_of(value), kind.encode(value), kind.ttl_of(value))
            for key, value in self.values.items()
        ]


class Fills:
    """Stores what was read. What comes while too much is under way is left out."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._waiting: list[Fill] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._nobodys = contextvars.Context()

    def add(self, fill: Fill) -> None:
        """Store values soon."""
        if not self._waiting:
            if len(self._tasks) >= UNDER_WAY:
                return
            asyncio.get_running_loop().call_later(TOGETHER_S, self._begin, context=self._nobodys)
        self._waiting.append(fill)

    async def settle(self) -> None:
        """Wait for all that is under way, and let nothing else wait."""
        self._begin()
        while self._tasks:
            await asyncio.wait(self._tasks)
            self._begin()

    def _begin(self) -> None:
        """Store what has come together."""
        fills, self._waiting = self._waiting, []
        if fills:
            task = asyncio.get_running_loop().create_task(self._store(fills), context=self._nobodys)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _store(self, fills: Sequence[Fill]) -> None:
        stamped = [entry for fill in fills for entry in fill.stamped()]
        versioned = [entry for fill in fills for entry in fill.versioned()]
        try:
            await write(self.redis, stamped, versioned)
        except CacheUnavailable:
            for fill in fills:
                reads(fill.kind.name, "not_stored").inc(len(fill.values))
