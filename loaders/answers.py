"""What the cells said of what shows to a viewer of the counts of those who have too many neighbours to be listed."""

from typing import Final

from domain.tallies import Blocked, Tally
from domain.users import Counts

ANSWERS: Final = 10_000
"""How many answers of the cells a process keeps, of some 500 bytes each: beside the bound of its memory."""


class Answers:
    """What the cells said of what shows to whom, the latest; held as long as both readings that it rests on."""

    def __init__(self, most: int = ANSWERS) -> None:
        self._most = most
        self._held: dict[tuple[int, int], tuple[bytes, bytes, Counts]] = {}

    def recall(self, viewer_id: int, owner_id: int, tally: Tally, blocked: Blocked) -> Counts | None:
        """Give what shows, where it was computed for the very same reading of the tally, and the same blocks."""
        held = self._held.get((viewer_id, owner_id))
        if held is None or held[0] != tally.reading or held[1] != blocked.digest():
            return None
        return held[2]

    def keep(self, viewer_id: int, owner_id: int, tally: Tally, blocked: Blocked, counts: Counts) -> None:
        """Keep what shows; the oldest goes."""
        self._held.pop((viewer_id, owner_id), None)
        self._held[viewer_id, owner_id] = tally.reading, blocked.digest(), counts
        if len(self._held) > self._most:
            del self._held[next(iter(self._held))]
