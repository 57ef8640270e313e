"""What a process remembers, told to whoever compares it with the database: keys, versions and digests, no values."""

import dataclasses
import hashlib
from collections.abc import Hashable
from typing import Final

import msgspec

from domain.hidden_edges import HiddenEdges
from domain.tallies import MARK_BYTES, Blocks, Tally, unpack_ids
from loaders.caches import Caches
from loaders.kinds import Side

_DIGEST_BYTES: Final = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One remembered value: `key` as JSON can have it, bytes in hexadecimal; `version` where the value has one."""

    kind: str
    key: int | str | tuple[int | str, ...]
    version: int | None
    digest: str


def fingerprint(value: object) -> str:
    """Digest a value, to the same in every process, whatever the order in which it was read."""
    if isinstance(value, Side):
        value = (value.complete, sorted(value.pairs.items()))
    elif isinstance(value, Blocks):
        value = value.ends and sorted(value.ends.items())
    elif isinstance(value, HiddenEdges):
        value = value.without(value.changed)
    elif isinstance(value, Tally):
        value = (
            value.counts,
            value.mark().to_bytes(MARK_BYTES, signed=not value.is_listed),
            *map(_sorted, (value.followers, value.following)),
        )
    encoded = msgspec.msgpack.encode(value)
    return hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).hexdigest()


def _sorted(packed: bytes | None) -> list[int] | None:
    return sorted(unpack_ids(packed)) if packed is not None else None


async def describe(caches: Caches) -> list[Line]:
    """Give every entry that this process would use for what is asked now; where it would use none, none."""
    if await caches.begin(None) is None:
        return []
    return [
        Line(kind, _plain(key), getattr(value, "version", None), fingerprint(value))
        for kind, key, value in caches.remembered()
    ]


def _plain(key: Hashable) -> int | str | tuple[int | str, ...]:
    if isinstance(key, int | str):
        return key
    assert isinstance(key, tuple)  # noqa: S101 - every key is a number, a text, or a named tuple of such and bytes
    return tuple(part.hex() if isinstance(part, bytes) else part for part in key)
