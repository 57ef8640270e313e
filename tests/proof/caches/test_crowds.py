"""A crowd that asks for one person who is not remembered, in two processes at once."""

import asyncio
import contextlib

import pytest

from loaders import read_through
from loaders.loaders import Loaders
from storage import tallies
from tests.proof.caches.fakes import THEN, CellStore
from tests.proof.caches.loop import VirtualLoop
from tests.proof.caches.schedule import PEOPLE, World

CROWD = 100
SEED = 2
"""One with which an answer comes soon enough to be waited for."""


async def statements_of_a_crowd(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let a crowd in each process ask for one person, and count the statements that fetch people."""
    world, asked, answer = World(SEED, loop), 0, CellStore.answer

    def counting(self: CellStore, statement: str, arguments: tuple[object, ...]) -> object:
        nonlocal asked
        asked += statement == tallies._FETCH_PEOPLE
        return answer(self, statement, arguments)

    monkeypatch.setattr(CellStore, "answer", counting)
    async with contextlib.AsyncExitStack() as stack:
        for process in world.processes:
            await stack.enter_async_context(process.caches.generations.watched())
            for cell in process.cells:
                await process.caches.generations.look(cell)  # type: ignore[arg-type]
        everybody = [Loaders(process.caches, None, THEN) for process in world.processes for _ in range(CROWD)]
        found = await asyncio.gather(*(loaders.users.load(PEOPLE[0]) for loaders in everybody))
    assert {user.id for user in found if user is not None} == {PEOPLE[0]}
    return asked


def test_a_crowd_in_two_processes_waits_for_the_one_that_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = VirtualLoop(SEED)
    assert loop.run(statements_of_a_crowd(loop, monkeypatch), within=60) == 1


def test_without_the_claim_each_process_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_through, "CROWD", CROWD * 2)
    loop = VirtualLoop(SEED)
    assert loop.run(statements_of_a_crowd(loop, monkeypatch), within=60) == 2
