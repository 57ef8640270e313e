"""What shows to a viewer of people's counts: without whom a block, either way, hides from the viewer.

Who is counted is remembered with the counts of whoever has few neighbours, and then nothing else is asked. The cells
are asked about the others, also for viewers without a block: what a request costs must not tell that somebody hides.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

from domain.tallies import Blocked, Tally, count_without
from domain.users import Counts
from loaders.asker import Asker
from loaders.loader import Loader
from loaders.own_side import OwnSide
from storage import tallies

_COUNTS_OF: Final = attrgetter("counts")


class ShownCounts:
    """Reads what shows to one viewer."""

    __slots__ = ("_asker", "_own_side", "_tallies", "missing")

    def __init__(self, asker: Asker, tallies_: Loader[int, Tally], own_side: OwnSide) -> None:
        self._asker = asker
        self._tallies = tallies_
        self._own_side = own_side
        self.missing = Counts()

    def recall(self, keys: Sequence[int], found: dict[int, Counts]) -> None:
        """Put what is known at once into a mapping."""
        known, blocked = self._tallies.recall(keys), self._own_side.recall_blocked()
        if known is not None and blocked is not None:
            self._look(dict(zip(keys, known, strict=True)), blocked, found)

    async def load(self, keys: Sequence[int], *, direct: bool) -> Mapping[int, Counts]:
        """Read the tallies and the viewer's blocks, and what only the cells can tell."""
        del direct  # as the two loaders know
        known = dict(zip(keys, await self._tallies.load_many(keys), strict=True))
        blocked = await self._own_side.fetch_blocked()
        found: dict[int, Counts] = {}
        self._look(known, blocked, found)
        unknown = [owner_id for owner_id in keys if owner_id not in found]
        return {**found, **await self._fetch(unknown, known, blocked)} if unknown else found

    def _look(self, known: Mapping[int, Tally], blocked: Blocked, found: dict[int, Counts]) -> None:
        """Take the counts of all, and look closer at whoever may have somebody blocked among the neighbours."""
        marks = blocked.marks
        met = [owner_id for owner_id, tally in known.items() if tally.marks & marks]
        found.update(zip(known, map(_COUNTS_OF, known.values()), strict=True))
        for owner_id in met:
            counts = self._shown(owner_id, known[owner_id], blocked)
            if counts is not None:
                found[owner_id] = counts
            else:
                del found[owner_id]

    def _shown(self, owner_id: int, tally: Tally, blocked: Blocked) -> Counts | None:
        asker = self._asker
        if tally.is_listed:
            return count_without(tally, blocked.as_set) if tally.mark() & blocked.marks else tally.counts
        if asker.epoch is None or asker.viewer_id is None:
            return None
        return asker.caches.answers.recall(asker.viewer_id, owner_id, tally, blocked)

    async def _fetch(
        self, owner_ids: Sequence[int], known: Mapping[int, Tally], blocked: Blocked
    ) -> Mapping[int, Counts]:
        asker = self._asker
        found = await tallies.fetch_shown_counts(asker.caches.database, owner_ids, blocked.ids)
        if asker.epoch is not None and asker.viewer_id is not None:
            for owner_id, counts in found.items():
                asker.caches.answers.keep(asker.viewer_id, owner_id, known[owner_id], blocked, counts)
        return {owner_id: found.get(owner_id, known[owner_id].counts) for owner_id in owner_ids}
