"""Batches: whoever waits is answered, also where there is more to ask than is under way at once."""

import asyncio

import pytest

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded
from loaders.batches import IN_FLIGHT, MAX_BATCH, Batch, Batches, Place


async def test_a_batch_that_was_full_while_others_were_under_way_is_asked_in_its_turn() -> None:
    answers, under_way, most = asyncio.Event(), 0, 0

    async def run(_place: Place, batch: Batch[int, int]) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await answers.wait()
        under_way -= 1
        batch.succeed({key: key for key in batch.asked})

    batches: Batches[int, int] = Batches(run)
    asked = []
    for key in range(IN_FLIGHT + 2 * MAX_BATCH + 1):
        asked.append(batches.join((0, False, 0)))
        asked[-1].ask(key)
        if key <= IN_FLIGHT:
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # each of the first is under way by itself, and the next begins to wait
    answers.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*(batch.wait() for batch in asked))
    assert [batch.found[key] for key, batch in enumerate(asked)] == list(range(len(asked)))
    assert most == IN_FLIGHT


async def test_whoever_waits_for_joint_work_leaves_when_it_must_and_ends_nothing() -> None:
    batch: Batch[int, int] = Batch(direct=False)
    with deadlines.within(0.01), pytest.raises(DeadlineExceeded):
        await batch.wait()
    leaving, patient = [asyncio.create_task(batch.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait({leaving})
    assert (leaving.cancelled(), patient.done()) == (True, False)
    batch.fail(Overloaded(retryAfter=1))
    with pytest.raises(Overloaded):
        await patient
