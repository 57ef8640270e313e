"""What another question brings along is remembered only while memory may be relied on."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from domain.tallies import Tally
from domain.users import Counts
from loaders.kinds import TALLIES
from loaders.memory import Memory
from loaders.read_through import ReadThrough
from storage.cells import ShardMap
from storage.generations import LEASE_S, Generations

PERSON = 7 << 22
TALLY = Tally(Counts(1, 2))


async def test_what_came_along_is_not_remembered_once_the_lease_on_the_generation_has_run_out() -> None:
    now = 0.0
    cell: Any = SimpleNamespace(number=0)

    def lost() -> None:
        memory.clear()
        reader.forget_flying()

    async def fetch(_keys: Sequence[int]) -> Mapping[int, Tally]:
        return {}

    generations = Generations(ShardMap((cell,)), lost, lambda: now)
    memory = Memory(entries=9, size=9000, trust=generations, clock=lambda: now)
    fills: Any = SimpleNamespace(redis=None)
    reader: ReadThrough[int, Tally] = ReadThrough(TALLIES, fetch, memory, fills, generations, clock=lambda: now)
    for took, kept in ((LEASE_S / 2, [TALLY]), (LEASE_S * 2, None)):
        generations._saw(0, 1, now)
        with reader.brought_along([PERSON]) as brought:
            now += took
            brought.keep({PERSON: TALLY})
        assert reader.recall([PERSON]) == kept
