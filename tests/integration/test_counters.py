"""Counters: exact at every commit, in slots or not, whatever folds, switches or mends them. On one cell and on two."""

import asyncio
import contextlib
import datetime as dt
import random
from collections.abc import AsyncIterator

import pytest

from domain.errors import Overloaded
from domain.ids import new_id
from domain.transitions import block, follow, unfollow
from storage.cells import Cell
from storage.counters import Sample, Threshold, fold, repair, sample
from storage.database import Database
from storage.pairs import change_pair
from tests.conftest import MakePerson, Person
from tests.integration.test_pairs import counts, now

SMALL = Threshold(enter=20, leave=10)
FOLLOW = follow(target_is_private=False)


async def crowd_of(database: Database, cell: int, size: int) -> list[int]:
    """Make people who have counters and nothing else, in one statement."""
    start = dt.datetime.now(dt.UTC)
    at_ms = int(start.timestamp() * 1000)
    ids = [new_id(cell, at_ms=at_ms + number) for number in range(size)]
    await database.shards.cells[cell].fetch("INSERT INTO user_counts (user_id) SELECT unnest($1::bigint[])", ids)
    return ids


async def is_slotted(cell: Cell, person: Person) -> bool:
    [row] = await cell.fetch("SELECT slotted FROM user_counts WHERE user_id = $1", person.id)
    return bool(row["slotted"])


async def slots_of(cell: Cell, person: Person) -> list[int]:
    rows = await cell.fetch("SELECT followers FROM user_count_slots WHERE user_id = $1", person.id)
    return [row["followers"] for row in rows]


async def sample_of(cell: Cell, person: Person) -> Sample:
    [found] = await sample(cell, [person.id])
    assert found.user_id == person.id
    return found


async def all_follow(database: Database, fans: list[int], star: Person) -> None:
    for start in range(0, len(fans), 8):
        await asyncio.gather(*(change_pair(database, fan, star.id, FOLLOW, now()) for fan in fans[start : start + 8]))


async def all_leave(database: Database, fans: list[int], star: Person) -> None:
    for start in range(0, len(fans), 8):
        await asyncio.gather(
            *(change_pair(database, fan, star.id, unfollow(), now()) for fan in fans[start : start + 8])
        )


async def test_the_switch_to_slots_and_back_has_two_thresholds(database: Database, make_person: MakePerson) -> None:
    star = await make_person()
    cell = database.shards.home(star.id)
    fans = await crowd_of(database, len(database.shards.cells) - 1, 22)
    await all_follow(database, fans[:19], star)
    await fold(cell, SMALL, limit=1000)
    assert not await is_slotted(cell, star)
    await all_follow(database, fans[19:], star)
    assert await slots_of(cell, star) == []
    await fold(cell, SMALL, limit=1000)
    assert await is_slotted(cell, star)
    await all_leave(database, fans[:9], star)
    assert sum(await slots_of(cell, star)) == -9
    assert await counts(database, star) == (13, 0)
    await fold(cell, SMALL, limit=1000)
    assert await is_slotted(cell, star)
    assert await slots_of(cell, star) == []
    await all_leave(database, fans[9:13], star)
    await fold(cell, SMALL, limit=1000)
    assert not await is_slotted(cell, star)
    assert await counts(database, star) == (9, 0)
    await all_follow(database, fans[:5], star)
    assert await slots_of(cell, star) == []
    await fold(cell, SMALL, limit=1000)
    assert not await is_slotted(cell, star)
    assert await counts(database, star) == (14, 0)


async def test_whom_the_star_follows_is_counted_in_the_row_itself(database: Database, make_person: MakePerson) -> None:
    star, other = await make_person(), await make_person()
    cell = database.shards.home(star.id)
    await all_follow(database, await crowd_of(database, 0, 20), star)
    await fold(cell, SMALL, limit=1000)
    await change_pair(database, star.id, other.id, FOLLOW, now())
    await change_pair(database, other.id, star.id, FOLLOW, now())
    assert await counts(database, star) == (21, 1)
    await change_pair(database, star.id, other.id, block(until=None), now())
    assert await counts(database, star) == (20, 0)
    assert (await sample_of(cell, star)).is_right


@contextlib.asynccontextmanager
async def folding(cell: Cell, thresholds: list[Threshold]) -> AsyncIterator[list[int]]:
    """Fold again and again, under one threshold after the other, so that the switch goes back and forth."""
    folded: list[int] = []

    async def again() -> None:
        while True:
            try:
                folded.append(await fold(cell, thresholds[len(folded) % len(thresholds)], limit=1000))
            except Overloaded:  # as upkeep does, it tries again
                await asyncio.sleep(0.1)

    task = asyncio.create_task(again())
    try:
        yield folded
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def watching(cell: Cell, person: Person) -> AsyncIterator[list[Sample]]:
    """Compare figure and edges again and again, each time in one snapshot."""
    seen: list[Sample] = []

    async def again() -> None:
        while True:
            seen.append(await sample_of(cell, person))
            await asyncio.sleep(0.005)

    task = asyncio.create_task(again())
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def come_and_go(database: Database, star: Person, fans: list[int], turns: int, *, seed: int) -> None:
    rng = random.Random(seed)

    async def one(fan: int) -> None:
        for _ in range(turns):
            transition = rng.choice([FOLLOW, FOLLOW, unfollow()])
            await change_pair(database, fan, star.id, transition, now())

    await asyncio.gather(*(one(fan) for fan in fans))


async def test_the_counter_is_right_in_every_snapshot_while_fans_come_and_go_and_folds_and_switches_run(
    database: Database, make_person: MakePerson
) -> None:
    star = await make_person()
    cell = database.shards.home(star.id)
    fans = await crowd_of(database, len(database.shards.cells) - 1, 10)
    await all_follow(database, fans, star)
    back_and_forth = [Threshold(enter=2, leave=1), Threshold(enter=1000, leave=999)]
    async with folding(cell, back_and_forth) as folded, watching(cell, star) as seen:
        for seed in range(20):
            await come_and_go(database, star, fans, 6, seed=seed)
            if len(seen) >= 10 and len(folded) >= 6:
                break
    assert [found for found in seen if not found.is_right] == []
    assert len(seen) >= 10
    assert len(folded) >= 6
    await fold(cell, SMALL, limit=1000)
    assert (await sample_of(cell, star)).is_right
    assert (await counts(database, star))[0] == (await sample_of(cell, star)).real.followers


async def corrupt(cell: Cell, person: Person, by: int) -> None:
    await cell.fetch("UPDATE user_counts SET followers = followers + $2 WHERE user_id = $1", person.id, by)


@pytest.mark.parametrize("slotted", [False, True], ids=["in the row", "in slots"])
async def test_a_counter_that_is_wrong_is_found_and_mended_exactly_once(
    database: Database, make_person: MakePerson, *, slotted: bool
) -> None:
    star = await make_person()
    cell = database.shards.home(star.id)
    fans = await crowd_of(database, 0, 6)
    await all_follow(database, fans[:3], star)
    if slotted:
        await fold(cell, Threshold(enter=2, leave=1), limit=1000)
    await all_follow(database, fans[3:], star)
    await corrupt(cell, star, 5)
    assert not (await sample_of(cell, star)).is_right
    assert sorted(await asyncio.gather(*(repair(cell, [star.id]) for _ in range(4)))) == [0, 0, 0, 1]
    assert (await sample_of(cell, star)).is_right
    assert await counts(database, star) == (6, 0)


async def test_a_counter_is_mended_rightly_while_follows_go_on(database: Database, make_person: MakePerson) -> None:
    star = await make_person()
    cell = database.shards.home(star.id)
    fans = await crowd_of(database, len(database.shards.cells) - 1, 8)
    await all_follow(database, fans, star)
    mended = []

    async def mend() -> None:
        for by in (7, 3, 40):
            await corrupt(cell, star, by)
            mended.append(await repair(cell, [star.id]))
            await asyncio.sleep(0.02)

    thresholds = [Threshold(enter=2, leave=1), Threshold(enter=1000, leave=999)]
    async with folding(cell, thresholds):
        await asyncio.gather(come_and_go(database, star, fans, 10, seed=5), mend())
    assert mended == [1, 1, 1]
    found = await sample_of(cell, star)
    assert found.is_right
    assert await counts(database, star) == (found.real.followers, found.real.following)


async def test_samples_of_people_who_are_right_are_right(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(cell=0), await make_person(cell=0)
    await change_pair(database, ana.id, bo.id, FOLLOW, now())
    found = await sample(database.shards.cells[0], [ana.id, bo.id])
    assert [one.counted for one in found] == [one.real for one in found]
    assert sorted((one.counted.followers, one.counted.following) for one in found) == [(0, 1), (1, 0)]
