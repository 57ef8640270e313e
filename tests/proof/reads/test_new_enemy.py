"""A block, then an edit, then a read in another process to which Redis is late: the blocked never sees the new.

`PROVE=long` plays 5,000 rounds, and counts what leaks when the viewer's epoch is ignored.
"""

import asyncio
import contextlib
import datetime as dt
import itertools
import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from domain import transitions
from domain.errors import Overloaded
from domain.events import EventType
from domain.users import User
from embedded import Addresses
from loaders import Loaders
from storage.epochs import Pulse
from storage.pairs import change_pair
from storage.users import change_user
from tests.proof.reads.worlds import BUSY_S, PEOPLE, Process, World, open_world

T = TypeVar("T")
LONG = os.environ.get("PROVE") == "long"
ROUNDS = 5_000 if LONG else 20
SEED = 20_261_123
LATE_S = 0.05


async def insist(work: Callable[[], Awaitable[T]]) -> T:
    """Do something again until a busy cell lets it."""
    while True:
        with contextlib.suppress(Overloaded):
            return await work()
        await asyncio.sleep(BUSY_S)


async def play(world: World, owner_id: int, viewer_id: int) -> bool:
    """Play one round, and tell whether something leaked."""
    here, elsewhere = world.processes
    database, bio = here.database, secrets.token_hex(4)

    def now() -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    def edited(user: User) -> User:
        return msgspec.structs.replace(user, bio=bio)

    await insist(lambda: change_pair(database, owner_id, viewer_id, transitions.unblock(), now()))
    await insist(lambda: is_blocked(elsewhere, owner_id, viewer_id))
    await insist(lambda: change_pair(database, owner_id, viewer_id, transitions.block(until=None), now()))
    await insist(lambda: change_user(database, owner_id, edited, event=EventType.USER_UPDATED))
    return not await insist(lambda: is_blocked(elsewhere, owner_id, viewer_id))


async def is_blocked(process: Process, owner_id: int, viewer_id: int) -> bool:
    _, [relationship] = await Loaders(process.caches, viewer_id, dt.datetime.now(dt.UTC)).fetch_people([owner_id])
    return relationship.blocked_by


async def leaks(world: World, rounds: int) -> int:
    """Play so many rounds, with different people at the same time."""
    remaining, found = itertools.count(), list[bool]()

    async def play_on(owner_id: int, viewer_id: int) -> None:
        while next(remaining) < rounds:
            found.append(await play(world, owner_id, viewer_id))

    await asyncio.gather(*(play_on(*pair) for pair in pairs_of(world)))
    return sum(found)


def pairs_of(world: World) -> list[tuple[int, int]]:
    return [(world.people[at], world.people[at + 1]) for at in range(0, PEOPLE, 2)]


async def test_whoever_was_blocked_sees_nothing_that_came_later(addresses: Addresses, short_folder: Path) -> None:
    async with open_world(addresses.postgres_dsns[1:], short_folder, SEED, delay=LATE_S) as world:
        found = await leaks(world, ROUNDS)
    sys.stdout.write(f"{ROUNDS} rounds: {found} leaks\n")
    assert found == 0


async def _one_epoch_for_ever(_self: Pulse, _viewer_id: int | None) -> bytes:
    return b"epoch000"


@pytest.mark.skipif(not LONG, reason="whether few rounds leak is a matter of luck")
async def test_with_the_epoch_ignored_it_leaks(
    addresses: Addresses, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pulse, "read", _one_epoch_for_ever)
    async with open_world(addresses.postgres_dsns[1:], short_folder, SEED, delay=LATE_S) as world:
        found = await leaks(world, ROUNDS)
    sys.stdout.write(f"{ROUNDS} rounds with the epoch ignored: {found} leaks\n")
    assert found > 0
