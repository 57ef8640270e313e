"""Whom those know who are hidden from a viewer: what that takes off the counts of people with many neighbours."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping
from itertools import filterfalse
from typing import Final

from domain.tallies import Blocked, Tally, unpack_ids
from domain.users import Counts

HIDDEN_AT_MOST: Final = 256
"""Of how many hidden people it is kept whom they know."""
EDGES_AT_MOST: Final = 8192
"""How many follows, both ways, are kept for one viewer: eight bytes each."""


class HiddenEdges:
    """Whom the hidden follow, and who follows them, as read at a moment; with whom that has changed since is noted."""

    __slots__ = ("_followed", "_followers", "blocked", "changed", "is_whole", "until")

    def __init__(self, blocked: Blocked) -> None:
        self.blocked = blocked
        self.changed: set[int] = set()
        """Who has come or gone, or only might have, as a neighbour of one of the hidden."""
        self.is_whole = False
        self.until = 0.0
        """The end of its time, in seconds of the clock of whoever keeps it."""
        self._followed = self._followers = array("q")

    def fill(self, tallies: Mapping[int, Tally]) -> None:
        """Take in what was read of the hidden; where that is too much, or not to be listed, nothing is known."""
        known = [tallies[hidden_id] for hidden_id in self.blocked.ids if hidden_id in tallies]
        self.is_whole = all(tally.is_listed for tally in known)
        if self.is_whole:
            self._followed = _joined(tally.following for tally in known)
            self._followers = _joined(tally.followers for tally in known)
            self.is_whole = len(self) <= EDGES_AT_MOST
        if not self.is_whole:
            self._followed = self._followers = array("q")

    def __len__(self) -> int:
        return len(self._followed) + len(self._followers)

    def shown(self, owner_id: int, counts: Counts) -> Counts | None:
        """Give what shows of somebody's counts; None where that is not known, or no longer."""
        if not self.is_whole or owner_id in self.changed:
            return None
        followers, following = _times(self._followed, owner_id), _times(self._followers, owner_id)
        if not followers and not following:
            return counts
        return Counts(max(0, counts.followers - followers), max(0, counts.following - following))

    def without(self, owner_ids: Collection[int]) -> tuple[bool, list[int], list[int]]:
        """Give all that is known but of some owners, for comparisons."""
        is_left_out = frozenset(owner_ids).__contains__
        return (
            self.is_whole,
            list(filterfalse(is_left_out, self._followed)),
            list(filterfalse(is_left_out, self._followers)),
        )


def _joined(lists: Iterable[bytes | None]) -> "array[int]":
    return array("q", sorted(unpack_ids(b"".join(each or b"" for each in lists))))


def _times(ids: "array[int]", wanted: int) -> int:
    """Tell how often an id is in a list that is in order."""
    first = bisect_left(ids, wanted)
    return bisect_right(ids, wanted, lo=first) - first
