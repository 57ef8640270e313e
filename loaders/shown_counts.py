"""What shows to a viewer of people's counts: without whom a block, either way, hides from the viewer.

Who is counted is remembered with the counts of whoever has few neighbours, and then nothing else is asked. What is
taken off the counts of the others is told by whom those know who are hidden, which is read once for a viewer. Where
they are too many as well the cells are asked. What a request costs must not tell that somebody hides: all this is done
for viewers without a block, too, as far as there is something to do for them.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from domain.hidden_edges import HiddenEdges
from domain.tallies import Blocked, Tally, count_without
from domain.users import Counts
from loaders.asker import Asker
from loaders.loader import Loader
from loaders.own_side import OwnSide
from storage import tallies

_COUNTS_OF: Final = attrgetter("counts")


def shown_to_all(known: Sequence[Tally], blocked: Blocked) -> list[Counts] | None:
    """Give the counts, where none of the people may have somebody blocked among the neighbours."""
    marks = blocked.marks
    shown = [tally.counts for tally in known if not tally.marks & marks]
    return shown if len(shown) == len(known) else None


class ShownCounts:
    """Reads what shows to one viewer."""

    __slots__ = ("_asker", "_own_side", "_tallies", "missing")

    def __init__(self, asker: Asker, tallies_: Loader[int, Tally], own_side: OwnSide) -> None:
        self._asker = asker
        self._tallies = tallies_
        self._own_side = own_side
        self.missing = Counts()

    def recall(self, keys: Sequence[int]) -> list[Counts] | None:
        """Have them looked at one by one; what needs no look never comes here (`shown_to_all`)."""
        del keys
        return None

    def gather(self, keys: Sequence[int], found: dict[int, Counts]) -> None:
        """Put what is known at once into a mapping."""
        known, blocked = self._tallies.recall(keys), self._own_side.recall_blocked()
        if known is not None and blocked is not None:
            self._look(keys, known, blocked, found)

    async def load(self, keys: Sequence[int], *, direct: bool) -> Mapping[int, Counts]:
        """Read the tallies and the viewer's blocks, and what these do not tell."""
        del direct  # as the two loaders know
        read = await self._tallies.load_many(keys)
        blocked = await self._own_side.fetch_blocked()
        found: dict[int, Counts] = {}
        unknown = self._look(keys, read, blocked, found)
        known = dict(zip(keys, read, strict=True))
        if unknown and (edges := await self._fetch_edges(blocked)) is not None:
            unknown = self._look_at(unknown, known, blocked, edges, found)
        return {**found, **await self._fetch(unknown, known, blocked)} if unknown else found

    def _look(
        self, owner_ids: Sequence[int], known: Sequence[Tally], blocked: Blocked, found: dict[int, Counts]
    ) -> list[int]:
        """Take the counts of all, and look closer at whoever may have somebody blocked among the neighbours.

        Gives those of whom it is not known what shows.
        """
        marks = blocked.marks
        met = {owner_id: tally for owner_id, tally in zip(owner_ids, known, strict=True) if tally.marks & marks}
        found.update(zip(owner_ids, map(_COUNTS_OF, known), strict=True))
        return self._look_at(met, met, blocked, self._recall_edges(blocked), found) if met else []

    def _look_at(
        self,
        owner_ids: Iterable[int],
        known: Mapping[int, Tally],
        blocked: Blocked,
        edges: HiddenEdges | None,
        found: dict[int, Counts],
    ) -> list[int]:
        unknown = []
        for owner_id in owner_ids:
            counts = self._shown(owner_id, known[owner_id], blocked, edges)
            if counts is not None:
                found[owner_id] = counts
            else:
                found.pop(owner_id, None)
                unknown.append(owner_id)
        return unknown

    def _shown(self, owner_id: int, tally: Tally, blocked: Blocked, edges: HiddenEdges | None) -> Counts | None:
        if tally.is_listed:
            return count_without(tally, blocked.as_set) if tally.mark() & blocked.marks else tally.counts
        shown = edges.shown(owner_id, tally.counts) if edges is not None else None
        asker = self._asker
        if shown is not None or asker.epoch is None or asker.viewer_id is None:
            return shown
        return asker.caches.answers.recall(asker.viewer_id, owner_id, tally, blocked)

    def _recall_edges(self, blocked: Blocked) -> HiddenEdges | None:
        asker = self._asker
        if asker.epoch is None or asker.viewer_id is None:
            return None
        return asker.caches.hidden_edges.recall(asker.viewer_id, blocked)

    async def _fetch_edges(self, blocked: Blocked) -> HiddenEdges | None:
        """Read whom the hidden know; None where nothing may be remembered, or that they know too many is."""
        asker, kept = self._asker, self._recall_edges(blocked)
        if asker.epoch is None or asker.viewer_id is None or (kept is not None and not kept.is_whole):
            return None
        return await asker.caches.hidden_edges.fetch(asker.viewer_id, blocked)

    async def _fetch(
        self, owner_ids: Sequence[int], known: Mapping[int, Tally], blocked: Blocked
    ) -> Mapping[int, Counts]:
        asker = self._asker
        found = await tallies.fetch_shown_counts(asker.caches.database, owner_ids, blocked.ids)
        if asker.epoch is not None and asker.viewer_id is not None:
            for owner_id, counts in found.items():
                asker.caches.answers.keep(asker.viewer_id, owner_id, known[owner_id], blocked, counts)
        return {owner_id: found.get(owner_id, known[owner_id].counts) for owner_id in owner_ids}
