"""What this process keeps of whom those know who are hidden from a viewer.

It is read once for a viewer, and tells what shows of everybody with too many neighbours to be listed, whoever they are.
Later changes are noted, not read: what a request costs must not tell that somebody who hides has been about.

Nor may the reading tell whether anybody hides: it takes one statement in every cell, with somebody in it whose tally is
read even where nobody is hidden; and it is for a viewer, whatever may be remembered of those who are hidden.
"""

import collections
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from domain.hidden_edges import HIDDEN_AT_MOST, HiddenEdges
from domain.ids import at_home_in
from domain.tallies import Blocked, Tally
from loaders.memory import Memory
from storage.generations import Generations

NAME: Final = "hidden"
Fetch = Callable[[Sequence[int]], Awaitable[Mapping[int, Tally]]]
VIEWERS: Final = 10_000
"""Of how many viewers it is kept, in some 800 bytes each: beside the bound of the memory."""
LIFE_S: Final = 600.0
"""How long it is kept, so that no more than the changes of ten minutes are noted in it."""
EDGES: Final = 500_000
"""How many follows are kept in all, eight bytes each."""


class HiddenEdgesOfViewers:
    """Reads and keeps it; it holds for as long as memory may be used, and the same people are hidden."""

    def __init__(
        self,
        fetch: Fetch,
        cells: Sequence[int],
        memory: Memory,
        generations: Generations,
        *,
        most: int = VIEWERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._cells = cells
        self._memory = memory
        self._generations = generations
        self._most = most
        self._clock = clock
        self._held: collections.OrderedDict[int, HiddenEdges] = collections.OrderedDict()
        self._edges = 0
        self._watched: dict[int, set[HiddenEdges]] = {}
        self._times_forgotten = 0

    def recall(self, viewer_id: int, blocked: Blocked) -> HiddenEdges | None:
        """Give what is kept for a viewer from whom these people are hidden."""
        if not self._memory.is_trusted:
            return None
        held = self._held.get(viewer_id)
        if held is None or held.until <= self._clock() or held.blocked.digest() != blocked.digest():
            return None
        return held

    async def fetch(self, viewer_id: int, blocked: Blocked) -> HiddenEdges:
        """Read it, and keep it where it will be heard what becomes of it; raises Overloaded.

        What changes while it is read is noted as well: what was read may be from before.
        """
        edges = HiddenEdges(blocked)
        if len(blocked.ids) > HIDDEN_AT_MOST:
            return edges
        is_sure, times_forgotten = self._is_sure, self._times_forgotten
        self._watch(edges)
        try:
            decoys = [at_home_in(cell, viewer_id) for cell in self._cells]
            edges.fill(await self._fetch([*decoys, *blocked.ids]))
        except BaseException:
            self._unwatch(edges)
            raise
        if is_sure and times_forgotten == self._times_forgotten:
            self._keep(viewer_id, edges)
        else:
            self._unwatch(edges)
        return edges

    def note(self, one_id: int, other_id: int) -> None:
        """Note that what two people are to each other may have changed."""
        for edges in self._watched.get(one_id, ()):
            edges.changed.add(other_id)
        for edges in self._watched.get(other_id, ()):
            edges.changed.add(one_id)

    def forget_all(self) -> None:
        """Keep nothing, nor what is being read."""
        self._times_forgotten += 1
        self._held.clear()
        self._watched.clear()
        self._edges = 0

    def kept(self) -> list[tuple[tuple[Any, ...], HiddenEdges]]:
        """Give what would be used now, by the viewer, who is hidden, and about whom of the others it is not used."""
        now, held = self._clock(), self._held.items() if self._memory.is_trusted else ()
        return [
            ((viewer_id, edges.blocked.digest(), *sorted(edges.changed)), edges)
            for viewer_id, edges in held
            if edges.until > now
        ]

    @property
    def _is_sure(self) -> bool:
        return self._memory.is_trusted and all(self._generations.of(cell) is not None for cell in self._cells)

    def _keep(self, viewer_id: int, edges: HiddenEdges) -> None:
        """Keep what was read; what is old goes, or too much. Of those of whom nothing is known no change matters."""
        self._drop(viewer_id)
        if not edges.is_whole:
            self._unwatch(edges)
        now = self._clock()
        edges.until = now + LIFE_S
        self._held[viewer_id] = edges
        self._edges += len(edges)
        while len(self._held) > self._most or self._edges > EDGES or self._oldest.until <= now:
            self._drop(next(iter(self._held)))

    @property
    def _oldest(self) -> HiddenEdges:
        return next(iter(self._held.values()))

    def _drop(self, viewer_id: int) -> None:
        edges = self._held.pop(viewer_id, None)
        if edges is not None:
            self._edges -= len(edges)
            self._unwatch(edges)

    def _watch(self, edges: HiddenEdges) -> None:
        for hidden_id in edges.blocked.ids:
            self._watched.setdefault(hidden_id, set()).add(edges)

    def _unwatch(self, edges: HiddenEdges) -> None:
        for hidden_id in edges.blocked.ids:
            watching = self._watched.get(hidden_id, set())
            watching.discard(edges)
            if not watching:
                self._watched.pop(hidden_id, None)
