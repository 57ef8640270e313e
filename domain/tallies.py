"""How many follow a person and how many the person follows; where they are few, also who.

What a viewer is shown leaves out whom a block, either way, hides from the viewer. Hardly anybody has one of them among
the followers or the followed, and two numbers with no bit in common say so at once.
"""

import dataclasses
import datetime as dt
import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from domain.relationships import Relationship
from domain.users import Counts

LISTED: Final = 256
"""Up to how many followers and followed, taken together, they are kept one by one."""
ID_BYTES: Final = 8
_PLACES: Final = 2039  # a prime: whatever bits of an id vary, marks are spread
_SET: Final = ord("1")
_ALWAYS: Final = 1 << _PLACES
"""The mark that no id has, but every viewer looks for: it meets that of whoever has not been marked, or not listed."""
UNMARKED: Final = -1
MARK_BYTES: Final = 255
_DIGEST_BYTES: Final = 16


def marks_of(ids: Iterable[int]) -> int:
    """Mark a bit for each id: of two such numbers without a common bit no id is in both."""
    row = bytearray(b"0") * _PLACES
    for each in ids:
        row[each % _PLACES] = _SET
    return int(row, 2)


def pack_ids(ids: Iterable[int]) -> bytes:
    """Pack ids as the database sends them: eight bytes each, the highest first."""
    return b"".join(each.to_bytes(ID_BYTES) for each in ids)


def unpack_ids(packed: bytes) -> tuple[int, ...]:
    """Give the ids that are packed."""
    return struct.unpack(f">{len(packed) // ID_BYTES}q", packed)


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """One person's counts, and who is counted: packed ids, or None where they are too many.

    Of those with too many `reading` names the moment at which it was read: what was computed beside it holds as long.
    """

    counts: Counts
    followers: bytes | None = b""
    following: bytes | None = b""
    reading: bytes = b""
    marks: int = dataclasses.field(default=UNMARKED, compare=False, repr=False)

    @property
    def is_listed(self) -> bool:
        """Tell whether it is known who is counted."""
        return self.followers is not None and self.following is not None

    def mark(self) -> int:
        """Give the marks of everybody who is counted, and keep them; those of too many meet every viewer's."""
        if self.marks == UNMARKED and self.followers is not None and self.following is not None:
            object.__setattr__(self, "marks", marks_of(unpack_ids(self.followers + self.following)))
        return self.marks


def count_without(tally: Tally, ids: frozenset[int]) -> Counts:
    """Give the counts of somebody without some people, which can be told only of those who are listed."""
    followers = len(ids.intersection(unpack_ids(tally.followers or b"")))
    following = len(ids.intersection(unpack_ids(tally.following or b"")))
    if not followers and not following:
        return tally.counts
    return Counts(tally.counts.followers - followers, tally.counts.following - following)


class Blocked:
    """Whom blocks, either way, hide from a viewer at a moment; whoever has none of their marks knows none of them."""

    __slots__ = ("_digest", "as_set", "ids", "marks")

    def __init__(self, ids: Iterable[int], *, by: int = _ALWAYS) -> None:
        self.ids = tuple(ids)
        self.as_set = frozenset(self.ids)
        self.marks = marks_of(self.ids) | by
        self._digest = b""

    def digest(self) -> bytes:
        """Name who they are, whatever their order."""
        if not self._digest:
            self._digest = hashlib.blake2b(pack_ids(sorted(self.ids)), digest_size=_DIGEST_BYTES).digest()
        return self._digest


NO_VIEWER: Final = Blocked((), by=0)
"""Nobody, for whoever is not signed in: it meets no marks."""
NO_BLOCKS: Final = Blocked(())


class Blocks:
    """A viewer's blocks, both ways, each with its end; `ends` is None where they are too many to be remembered."""

    __slots__ = ("_lasting", "ends")

    def __init__(self, ends: Mapping[int, dt.datetime | None] | None) -> None:
        self.ends = ends
        self._lasting: Blocked | None = None

    @classmethod
    def among(cls, pairs: Mapping[int, Relationship]) -> "Blocks":
        """Pick the blocks out of what a viewer is to others."""
        return cls({other: _end(pair) for other, pair in pairs.items() if pair.blocks or pair.blocked_by})

    def at(self, now: dt.datetime) -> Blocked:
        """Give whom they hide at a moment. A block with an end lapses by itself: only what has none is kept."""
        if self._lasting is None:
            ends = self.ends or {}
            blocked = Blocked(other for other, end in ends.items() if end is None or now < end) if ends else NO_BLOCKS
            if any(ends.values()):
                return blocked
            self._lasting = blocked
        return self._lasting


def _end(pair: Relationship) -> dt.datetime | None:
    """Give when the later of both blocks of a pair lapses; None where one has no end."""
    mine, theirs = pair.blocks_until, pair.blocked_by_until
    if (pair.blocks and mine is None) or (pair.blocked_by and theirs is None):
        return None
    return max(end for holds, end in ((pair.blocks, mine), (pair.blocked_by, theirs)) if holds and end is not None)
