"""Up to which version of a pair this process has forgotten what it remembered, of those that changed lately.

A change is told twice: by Redis before it is answered, and by the broker a moment later, in case Redis has lost it.
What was read in between is from after the change, and need not be read again.
"""

from collections.abc import Sequence
from typing import Final

PAIRS: Final = 10_000
"""Of how many pairs it is known, in some 350 bytes each: more than change while the broker is behind."""


class PairVersions:
    """The versions, the latest; a pair that is not there has none."""

    def __init__(self, most: int = PAIRS) -> None:
        self._most = most
        self._versions: dict[frozenset[int], int] = {}

    def note(self, people: Sequence[int], version: int) -> None:
        """Note a pair's version, once everything from before it is forgotten; the oldest pair goes."""
        pair = frozenset(people)
        self._versions[pair] = max(version, self._versions.pop(pair, 0))
        if len(self._versions) > self._most:
            del self._versions[next(iter(self._versions))]

    def has(self, people: Sequence[int], version: int) -> bool:
        """Tell whether a pair's version, or a later one, has been noted."""
        return self._versions.get(frozenset(people), 0) >= version
