"""Turns of the loop: a crowd computes in its order, and between every few milliseconds of it the loop goes round."""

import asyncio
import contextlib

import pytest

from transport import turns as turns_module
from transport.turns import TURN_S, Turns

PASSING_S = TURN_S / 4
CROWD = 100


class Crowd:
    """Requests that compute for a while each, and how many did so in each turn of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = PASSING_S) -> None:
        self.turns = Turns()
        self.now = 0.0
        self.seconds = seconds
        self.done: list[int] = []
        monkeypatch.setattr(turns_module, "monotonic", lambda: self.now)

    async def compute(self, number: int) -> None:
        if not self.turns.has_room():
            await self.turns.room()
        self.now += self.seconds
        self.done.append(number)

    async def watched(self, *crowd: asyncio.Task[None]) -> list[int]:
        """Give how many computed in each turn, until all of a crowd have."""
        in_turns, before = [], 0
        while not all(task.done() for task in crowd):
            await asyncio.sleep(0)
            in_turns.append(len(self.done) - before)
            before = len(self.done)
        return in_turns


@pytest.mark.parametrize("seconds", [PASSING_S, TURN_S * 3, TURN_S / 100], ids=["usual", "long", "short"])
async def test_a_crowd_computes_in_its_order_and_for_a_part_of_each_turn(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    crowd = Crowd(monkeypatch, seconds)
    tasks = [asyncio.create_task(crowd.compute(number)) for number in range(CROWD)]
    in_turns = await crowd.watched(*tasks)
    assert crowd.done == list(range(CROWD))
    fitting = -(-TURN_S // seconds)
    assert max(in_turns) <= fitting
    assert len([number for number in in_turns if not number]) <= 3


async def test_one_by_one_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(monkeypatch, TURN_S * 3)
    for number in range(5):
        assert crowd.turns.has_room()
        crowd.now += crowd.seconds
        assert not crowd.turns.has_room()
        await crowd.watched(asyncio.create_task(crowd.compute(number)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_those_who_give_up_waiting_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(monkeypatch)
    tasks = [asyncio.create_task(crowd.compute(number)) for number in range(CROWD)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await crowd.watched(*tasks)
    for task in tasks[::2]:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert set(range(1, CROWD, 2)) <= set(crowd.done)
    assert crowd.done == sorted(crowd.done)
    assert crowd.turns.has_room()
