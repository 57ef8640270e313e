"""Who publishes which partition: one holder each, shared by all who live, and only the holder saves."""

import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator

import pytest

from embedded import Addresses
from events import leadership
from events.leadership import Leadership, LeaseLost
from events.metrics import QUARANTINED
from events.quarantine import skip
from events.reach import Reach
from storage import outbox_leases, outbox_quarantine
from storage.cells import Cell, ShardMap
from storage.outbox_leases import begin_life, claim, leave, meet, release, renew, save
from storage.outbox_quarantine import Refusal
from storage.outbox_reading import Position, fetch_of_keys
from tests.conftest import eventually
from tests.integration.outboxes import PARTITIONS, append, open_cell

LEASE = dt.timedelta(seconds=30)
SHORT = dt.timedelta(seconds=0.2)
STOOD = Position("5", "9", 3)


@pytest.fixture
async def cell(addresses: Addresses) -> AsyncIterator[Cell]:
    async with open_cell(addresses) as (opened, _dsn):
        yield opened


async def test_a_partition_has_one_holder_at_a_time_and_only_that_one_saves(cell: Cell) -> None:
    one, two = uuid.uuid4(), uuid.uuid4()
    assert {led.number for led in await claim(cell, one, LEASE, limit=8)} == set(PARTITIONS)
    assert await claim(cell, two, LEASE, limit=8) == []
    assert await save(cell, two, {3: STOOD}, LEASE) == set()
    assert await save(cell, one, {3: STOOD}, SHORT) == {3}

    async def taken() -> bool:
        return [led.number for led in await claim(cell, two, LEASE, limit=8)] == [3]

    await eventually(taken)
    assert await save(cell, one, {3: STOOD, 4: STOOD}, LEASE) == {4}
    assert await renew(cell, one, LEASE) == set(PARTITIONS) - {3}
    await release(cell, two, [3])
    [led] = await claim(cell, one, LEASE, limit=8)
    assert led.position == STOOD


async def test_each_relay_has_its_share_of_the_partitions(cell: Cell) -> None:
    one, two, three = (uuid.uuid4() for _ in range(3))
    assert await meet(cell, one, LEASE) == 8
    assert await meet(cell, two, SHORT) == 4
    assert await meet(cell, three, LEASE) == 3

    async def missed() -> bool:
        return await meet(cell, one, LEASE) == 4

    await eventually(missed)
    await leave(cell, three)
    assert await meet(cell, one, LEASE) == 8


async def test_a_relay_that_joins_is_given_a_share_and_one_that_leaves_hands_its_own_over(cell: Cell) -> None:
    one, two = Leadership(cell), Leadership(cell)
    await one.tend()
    await two.tend()
    assert (len(one.led), len(two.led)) == (8, 0)
    await one.tend()
    await one.give_back_surplus()
    await two.tend()
    assert (len(one.led), len(two.led)) == (4, 4)
    assert not set(one.led) & set(two.led)
    await one._leave()
    await two.tend()
    assert set(two.led) == set(PARTITIONS)


async def test_a_relay_that_lost_a_partition_stops_leading_it(cell: Cell) -> None:
    one = Leadership(cell)
    await one.tend()
    await cell.fetch("UPDATE relay_positions SET holder = gen_random_uuid() WHERE partition = 2")
    with pytest.raises(LeaseLost):
        await one.save({1: STOOD, 2: STOOD})
    assert set(one.led) == set(PARTITIONS) - {2}
    assert one.led[1].position == STOOD
    await cell.fetch("UPDATE relay_positions SET holder = gen_random_uuid() WHERE partition = 5")
    await one.tend()
    assert set(one.led) == set(PARTITIONS) - {2, 5}


async def test_a_relay_that_leads_nothing_tells_of_no_keys_in_quarantine(cell: Cell) -> None:
    one, held = Leadership(cell), QUARANTINED.labels(cell.number)
    await one.tend()
    held.set(3)
    await cell.fetch("UPDATE relay_positions SET holder = gen_random_uuid(), lease_until = 'infinity'")
    await one.tend()
    assert (one.led, held._value.get()) == ({}, 0)


async def test_a_key_that_waits_in_two_cells_is_decided_on_by_its_event(
    cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    await append(cell, "ana", 1)
    [row] = await fetch_of_keys(cell, ["ana"], after=0, until=99, retention=dt.timedelta(days=1), limit=1)
    await outbox_quarantine.hold(cell, [Refusal(row, "Reason")])
    with pytest.raises(SystemExit):
        await skip(ShardMap((cell, cell)), "ana")  # the same one twice stands for two
    assert "ana waits in 2 cells" in capsys.readouterr().err
    assert await skip(ShardMap((cell,)), str(row.id)) == 0


async def test_a_new_life_of_the_broker_is_fed_again_up_to_the_last_number_and_the_first_one_is_not(cell: Cell) -> None:
    holder, first, second = (uuid.uuid4() for _ in range(3))
    await append(cell, "ana", 3)
    await claim(cell, holder, LEASE, limit=8)
    assert all(led.is_refed and led.broker == first for led in await begin_life(cell, holder, PARTITIONS, first))
    begun = await begin_life(cell, holder, PARTITIONS, second)
    assert {(led.refeed_from, led.refeed_to) for led in begun} == {(4, 3)}
    assert await outbox_leases.save_refeed(cell, holder, 0, 0)
    assert not await outbox_leases.save_refeed(cell, uuid.uuid4(), 1, 0)


async def test_where_no_relay_reaches_the_broker_one_keeps_all_and_nothing_goes_round(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "SILENT_S", -1.0)
    one, two = Leadership(cell, Reach()), Leadership(cell, Reach())
    await one.tend()
    await two.tend()
    await one.give_back_surplus()
    await one.tend()
    assert (one.is_aside, len(one.led), await one.is_alone()) == (True, 0, False)
    for _ in range(3):
        await two.tend()
        await one.tend()
    assert (set(two.led), two.is_aside) == (set(PARTITIONS), False)
    assert await two.is_alone()


async def test_a_relay_that_reaches_the_broker_again_takes_its_share(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "SILENT_S", -1.0)
    one, two = Leadership(cell, Reach()), Leadership(cell, Reach())
    await two.tend()
    await one.tend()
    await two.tend()
    assert two.is_aside
    monkeypatch.undo()
    await one.tend()
    assert len(one.led) == len(PARTITIONS)
    two.come_back()
    await two.tend()
    await one.tend()
    await one.give_back_surplus()
    await two.tend()
    assert (len(one.led), len(two.led)) == (4, 4)


def test_what_is_asked_is_owed_until_it_is_answered_also_where_it_fails() -> None:
    reach = Reach()
    assert reach.silent_s == 0
    with reach.asking():
        with reach.asking():
            pass
        assert reach.silent_s > 0, "the outer one is owed still"
    assert reach.silent_s == 0
    with contextlib.suppress(OSError), reach.asking():
        raise OSError
    assert reach.silent_s > 0
    reach.answered()
    assert reach.silent_s == 0
