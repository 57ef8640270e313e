"""A crowd that asks for one person while Redis is away: the database sees few statements, and few at once."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import pytest

from domain.ids import OpaqueIds
from loaders import Caches, Loaders, open_caches
from loaders.batches import IN_FLIGHT
from loaders.kinds import Side, SideKey
from storage.cells import Cell, Record, ShardMap
from storage.limits import Limit
from storage.redis_client import open_redis
from tests.acceptance.main_job import free_port
from tests.cold import is_watch
from tests.conftest import KEY, MakePerson, Person

READERS = 500
TURNS = 10
"""Over how many turns of the loop the readers come."""
VIEWERS = 60
FEW = 3
ROOM = 4


@dataclasses.dataclass(slots=True)
class Seen:
    """What reached the cells: how many statements, and how many at once."""

    statements: int = 0
    running: int = 0
    at_once: int = 0


@contextlib.contextmanager
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    seen, fetch = Seen(), Cell._fetch

    async def fetching(self: Cell, statement: str, arguments: Sequence[object]) -> list[Record]:
        if is_watch(statement):
            return await fetch(self, statement, arguments)
        seen.statements += 1
        seen.running += 1
        seen.at_once = max(seen.at_once, seen.running)
        try:
            return await fetch(self, statement, arguments)
        finally:
            seen.running -= 1

    with monkeypatch.context() as patched:
        patched.setattr(Cell, "_fetch", fetching)
        yield seen


@pytest.fixture
async def alone(shards: ShardMap) -> AsyncIterator[Caches]:
    """Give the caches of a process whose Redis is not there."""
    async with (
        open_redis(f"redis://127.0.0.1:{free_port()}") as redis,
        open_caches(shards, OpaqueIds(KEY), redis) as caches,
    ):
        yield caches


async def read(caches: Caches, viewer: Person | None, person: Person, turn: int) -> str | None:
    for _ in range(turn):
        await asyncio.sleep(0)
    loaders = Loaders(caches, viewer.id if viewer is not None else None, dt.datetime.now(dt.UTC))
    [user], _ = await loaders.fetch_people([person.id])
    return user.username if user is not None else None


async def test_a_crowd_shares_a_few_statements_while_redis_is_away(
    alone: Caches, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star = await make_person()
    with watching(monkeypatch) as seen:
        found = await asyncio.gather(*(read(alone, None, star, number % TURNS) for number in range(READERS)))
    assert found == [star.name] * READERS
    assert seen.statements <= TURNS
    assert seen.at_once <= IN_FLIGHT


async def test_a_crowd_of_a_few_viewers_asks_for_each_ones_side_a_few_times(
    alone: Caches, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewers = await make_person(cell=0), [await make_person(cell=0) for _ in range(FEW)]
    [home, *_] = alone.database.shards.cells
    monkeypatch.setattr(home.guard, "limit", Limit("a test", ROOM, places=READERS, slow=60, longest_wait=60))
    with watching(monkeypatch) as seen:
        asking = (read(alone, viewers[number % FEW], star, number % TURNS) for number in range(READERS))
        found = await asyncio.gather(*asking)
    assert found == [star.name] * READERS
    assert seen.statements <= (FEW + 1) * TURNS


async def test_nobody_shares_a_statement_with_anothers_side(
    alone: Caches, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewers = await make_person(cell=0), [await make_person(cell=0) for _ in range(FEW)]
    asked = []
    original = alone.sides._fetch

    async def fetch(keys: Sequence[SideKey]) -> Mapping[SideKey, Side]:
        asked.append({key.viewer_id for key in keys})
        return await original(keys)

    monkeypatch.setattr(alone.sides, "_fetch", fetch)
    await asyncio.gather(*(read(alone, viewers[number % FEW], star, 0) for number in range(FEW * 5)))
    assert all(len(people) == 1 for people in asked)
    assert set.union(*asked) == {viewer.id for viewer in viewers}


async def test_what_is_each_viewers_own_waits_in_front_of_the_cell(
    alone: Caches, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewers = await make_person(cell=0), [await make_person(cell=0) for _ in range(VIEWERS)]
    [home, *_] = alone.database.shards.cells
    patient = Limit("a test", ROOM, places=VIEWERS * 10, slow=60, longest_wait=60)
    monkeypatch.setattr(home.guard, "limit", patient)
    with watching(monkeypatch) as seen:
        asking = (read(alone, viewer, star, number % TURNS) for number, viewer in enumerate(viewers))
        found = await asyncio.gather(*asking)
    assert found == [star.name] * VIEWERS
    assert seen.statements <= VIEWERS + TURNS
    assert seen.at_once <= ROOM
