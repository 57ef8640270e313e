"""Upkeep: one process at a time does it, another takes over, and what is wrong is mended. On one cell and on two."""

import asyncio
import contextlib
import datetime as dt
import uuid

import pytest

from domain.errors import Overloaded
from domain.relationships import FollowState
from domain.transitions import block, follow
from events.metrics import COUNTERS_WRONG, UPKEEP_FAILURES
from events.upkeep import Pace, Upkeep
from storage import leases
from storage.cells import Cell
from storage.counters import Threshold
from storage.database import Database
from storage.pairs import change_pair
from tests.conftest import MakePerson, Person, eventually
from tests.integration.test_counters import all_follow, corrupt, crowd_of, is_slotted, sample_of, slots_of
from tests.integration.test_pairs import now, sides
from tests.integration.test_requests import upkeep

QUICK = Pace(every=0.05)


class Worker:
    """An upkeep process in miniature: its rounds are counted, and it can be killed without giving its lease back."""

    def __init__(self, database: Database, cell: Cell, pace: Pace = QUICK) -> None:
        self.upkeep = Upkeep(database, cell, pace)
        self.rounds = 0
        work = self.upkeep.go_over

        async def counted() -> None:
            await work()
            self.rounds += 1

        self.upkeep.go_over = counted  # type: ignore[method-assign] # a counter around the real one
        self.task = asyncio.create_task(self.upkeep.run())

    async def worked(self) -> bool:
        return self.rounds > 0

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def test_one_of_two_works_and_the_other_takes_over_at_once_when_it_leaves(database: Database) -> None:
    cell = database.shards.cells[0]
    one = Worker(database, cell)
    await eventually(one.worked)
    two = Worker(database, cell)
    rounds = one.rounds

    async def went_on() -> bool:
        return one.rounds >= rounds + 3

    await eventually(went_on)
    assert two.rounds == 0
    await one.stop()
    await eventually(two.worked)
    rounds = one.rounds
    await two.stop()
    assert one.rounds == rounds
    assert await cell.fetch("SELECT FROM leases WHERE name = 'upkeep'") == []


async def test_the_other_takes_over_from_one_that_was_killed_once_its_lease_has_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = database.shards.cells[0]
    monkeypatch.setattr("events.upkeep.LEASE", dt.timedelta(seconds=0.6))
    one = Worker(database, cell)
    await eventually(one.worked)

    async def nothing(*_arguments: object) -> None:
        """Give nothing back, as whoever is killed."""

    with monkeypatch.context() as killed:
        killed.setattr(leases, "release", nothing)
        await one.stop()
    two = Worker(database, cell)
    assert not await leases.claim(cell, "upkeep", uuid.uuid4(), dt.timedelta(seconds=1))
    await eventually(two.worked)
    await two.stop()


async def test_a_lease_is_kept_by_its_holder_and_given_back_by_nobody_else(database: Database) -> None:
    cell, one, two, lease = database.shards.cells[0], uuid.uuid4(), uuid.uuid4(), dt.timedelta(seconds=20)
    name = f"job {uuid.uuid4()}"
    assert await leases.claim(cell, name, one, lease)
    assert await leases.claim(cell, name, one, lease)
    await leases.release(cell, name, two)
    assert not await leases.claim(cell, name, two, lease)
    await leases.release(cell, name, one)
    assert await leases.claim(cell, name, two, lease)
    await leases.release(cell, name, two)


async def test_of_many_who_claim_at_once_one_gets_the_lease(database: Database) -> None:
    cell, name = database.shards.cells[0], f"job {uuid.uuid4()}"
    claims = (leases.claim(cell, name, uuid.uuid4(), dt.timedelta(seconds=20)) for _ in range(8))
    assert sum(await asyncio.gather(*claims)) == 1


async def test_a_cell_that_does_not_answer_is_tried_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 0

    async def busy(*_arguments: object, **_options: object) -> int:
        nonlocal failures
        failures += 1
        if failures <= 2:
            raise Overloaded
        return 0

    counted = UPKEEP_FAILURES.labels("Overloaded")
    before = counted._value.get()
    monkeypatch.setattr("events.upkeep.clear_ended", busy)
    worker = Worker(database, database.shards.cells[0])
    await eventually(worker.worked)
    await worker.stop()
    assert counted._value.get() - before == 2


async def test_one_round_finds_and_mends_a_counter_and_says_so_once(
    database: Database, make_person: MakePerson
) -> None:
    star = await make_person()
    cell = database.shards.home(star.id)
    await all_follow(database, await crowd_of(database, 0, 3), star)
    await corrupt(cell, star, 2)
    before = COUNTERS_WRONG._value.get()
    job = Upkeep(database, cell, QUICK)
    for _ in range(2):
        job._sampled = star.id - 1
        await job.go_over()
    assert COUNTERS_WRONG._value.get() - before == 1
    assert (await sample_of(cell, star)).is_right


async def test_the_comparison_goes_round_all_people(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star = await make_person()
    cell = database.shards.home(star.id)
    await corrupt(cell, star, 4)
    monkeypatch.setattr("events.upkeep.BATCH", 1000)
    job = Upkeep(database, cell, QUICK)
    came_to = -1
    while job._sampled > came_to:  # a batch is bounded in edges too, so that nobody knows how many make a round
        came_to = job._sampled
        await job._compare_counters()
    assert (await sample_of(cell, star)).is_right


async def test_a_round_folds_slots_and_switches_at_the_threshold(database: Database, make_person: MakePerson) -> None:
    star = await make_person()
    cell = database.shards.home(star.id)
    fans = await crowd_of(database, 0, 8)
    await all_follow(database, fans[:4], star)
    job = Upkeep(database, cell, Pace(threshold=Threshold(enter=4, leave=2)))
    await job.go_over()
    assert await is_slotted(cell, star)
    await all_follow(database, fans[4:], star)
    assert sum(await slots_of(cell, star)) == 4
    await job.go_over()
    assert await slots_of(cell, star) == []
    assert (await sample_of(cell, star)).is_right


async def ended_pairs(database: Database, make_person: MakePerson, size: int) -> list[tuple[Person, Person]]:
    pairs = [(await make_person(), await make_person()) for _ in range(size)]
    long_ago = now() - dt.timedelta(days=40)
    for number, (one, other) in enumerate(pairs):
        transition = block(until=long_ago + dt.timedelta(days=1)) if number % 2 else follow(target_is_private=True)
        await change_pair(database, one.id, other.id, transition, long_ago)
    return pairs


async def test_a_round_that_is_left_in_the_middle_is_finished_by_the_next(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = await ended_pairs(database, make_person, 6)
    done = 0

    async def break_off(*arguments: object, **options: object) -> object:
        nonlocal done
        done += 1
        if done == 3:
            raise Overloaded
        return await change_pair(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as broken:
        broken.setattr("storage.expiries.change_pair", break_off)
        with pytest.raises(Overloaded):
            await upkeep(database, QUICK)
    await upkeep(database, QUICK)
    for one, other in pairs:
        ours, theirs = await sides(database, one, other)
        assert ours == theirs.mirrored()
        assert (ours.blocks, ours.follows, ours.version) == (False, FollowState.NONE, 2)


async def test_two_rounds_at_once_clear_everything_once(database: Database, make_person: MakePerson) -> None:
    pairs = await ended_pairs(database, make_person, 6)
    rounds = (Upkeep(database, cell, QUICK).go_over() for cell in database.shards.cells for _ in range(2))
    await asyncio.gather(*rounds)
    for one, other in pairs:
        ours, theirs = await sides(database, one, other)
        assert ours == theirs.mirrored()
        assert ours.version == 2
