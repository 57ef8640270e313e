"""What Redis holds of one kind of fact (L2)."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from loaders.fills import Fill, Fills
from loaders.kinds import Kind
from loaders.metrics import reads
from storage.entries import claim_fills, read_stamped, read_versioned
from storage.redis_client import CacheUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Found = tuple[dict[K, V], dict[K, bytes]]
"""Values, and the epochs under which what is lacking is to be stored."""


class Stored(Generic[K, V]):
    """Reads and fills; a Redis that fails is a miss, except that reading says so."""

    def __init__(self, kind: Kind[K, V], fills: Fills) -> None:
        self._kind = kind
        self._redis = fills.redis
        self._fills = fills

    async def read(self, names: Mapping[K, str]) -> Found[K, V]:
        """Read what there is, by the names of the keys; raises CacheUnavailable."""
        epoch_of = self._kind.epoch_of
        if epoch_of is None:
            versioned = await read_versioned(self._redis, list(names.values()))
            return self._decoded(zip(names, versioned, strict=True)), {}
        stamped = await read_stamped(self._redis, [(epoch_of(key), name) for key, name in names.items()])
        epochs, values = zip(*stamped, strict=True)
        return self._decoded(zip(names, values, strict=True)), dict(zip(names, epochs, strict=True))

    def fill(self, names: Mapping[K, str], values: Mapping[K, V], epochs: Mapping[K, bytes]) -> None:
        """Store what was fetched, while nobody waits for it; too much at once is left out."""
        self._fills.add(Fill(self._kind, names, values, epochs))

    async def claim(self, names: Sequence[str]) -> frozenset[str]:
        """Claim the filling of keys for a moment, and give those that are claimed by nobody else."""
        try:
            return await claim_fills(self._redis, names)
        except CacheUnavailable:
            return frozenset(names)

    def _decoded(self, stored: Iterable[tuple[K, bytes | None]]) -> dict[K, V]:
        found: dict[K, V] = {}
        for key, value in stored:
            if value is None:
                continue
            try:
                found[key] = self._kind.decode(value)
            except (msgspec.MsgspecError, ValueError, OverflowError):
                reads(self._kind.name, "unreadable").inc()  # of another version of Kith: a miss
        return found
