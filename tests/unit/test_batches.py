"""Batches: whoever waits is answered, also where there is more to ask than is under way at once."""

import asyncio
from collections.abc import Sequence

import pytest

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded
from loaders.batches import IN_FLIGHT, MAX_BATCH, Batch, Batches, Place
from loaders.read_through import _wait


async def test_a_batch_that_was_full_while_others_were_under_way_is_asked_in_its_turn() -> None:
    answers, under_way, most = asyncio.Event(), 0, 0

    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        return {key: key for key in keys}

    async def run(_place: Place, batch: Batch[int, int]) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await answers.wait()
        under_way -= 1
        batch.succeed(await batch.fetch(list(batch.asked)))

    batches: Batches[int, int] = Batches(run)
    asked = []
    for key in range(IN_FLIGHT + 2 * MAX_BATCH + 1):
        asked.append(batches.join((0, False, 0), fetch))
        asked[-1].ask(key)
        if key <= IN_FLIGHT:
            await asyncio.sleep(0)  # each of the first is under way by itself, and the next begins to wait
    answers.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*(batch.done for batch in asked))
    assert [batch.found[key] for key, batch in enumerate(asked)] == list(range(len(asked)))
    assert most == IN_FLIGHT


async def test_whoever_waits_for_joint_work_leaves_when_it_must_and_ends_nothing() -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with deadlines.within(0.01), pytest.raises(DeadlineExceeded):
        await _wait(done)
    leaving, patient = [asyncio.create_task(_wait(done)) for _ in range(2)]
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait({leaving})
    assert (leaving.cancelled(), done.done()) == (True, False)
    done.set_exception(Overloaded(retryAfter=1))
    with pytest.raises(Overloaded):
        await patient
