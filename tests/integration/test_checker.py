"""The checker finds what is staler than the database, in Redis and in memory, and nothing else."""

import datetime as dt
from collections.abc import Hashable

import pytest
from msgspec import structs

from domain.events import EventType
from domain.ids import OpaqueIds, cell_of
from loaders import Loaders, describe, open_caches
from loaders.comparison import Report, compare
from loaders.hidden_edges import NAME
from loaders.inspection import Line
from loaders.kinds import TALLIES
from resolvers import blocks, follows
from storage import tallies
from storage.cells import ShardMap
from storage.database import Database
from storage.redis_client import Redis
from storage.users import change_user
from tests.asking import ask
from tests.conftest import KEY, MakePerson, Person, eventually
from tests.integration.test_caches import PAGE

KINDS = {"user", "name", "tally", "followers", "side"}


async def compared(lines: list[Line], shards: ShardMap, redis: Redis) -> Report:
    """Compare as the command does: with caches of its own."""
    async with open_caches(shards, OpaqueIds(KEY), redis) as own:
        return await compare(own, redis, {"this process": lines})


def stale_about(report: Report, *people: Person) -> set[tuple[str, str, Hashable]]:
    """Give what is stale about people of this test: the session's Redis remembers others, of other cells."""
    ids = {person.id for person in people} | {person.name for person in people}
    return {(entry.where, entry.kind, entry.key) for entry in report.stale if _owner(entry.key) in ids}


def _owner(key: Hashable) -> Hashable:
    return key[0] if isinstance(key, tuple) else key


async def read_everything(viewer: Person, star: Person) -> list[Line]:
    """Read until memory holds something of every kind, which it does for 2 s, and give what it holds."""
    caches, lines = viewer.backend.caches, list[Line]()

    async def read() -> bool:
        await ask(viewer.context, PAGE, name=star.name)
        lines[:] = await describe(caches)
        await caches.settle()
        return {line.kind for line in lines} == KINDS

    await eventually(read, within=60)
    return lines


async def test_what_is_remembered_after_changes_is_what_the_cells_say(
    make_person: MakePerson, shards: ShardMap, redis: Redis
) -> None:
    star, viewer, other = await make_person(), await make_person(), await make_person()
    for follower in (viewer, other):
        await follows.follow(follower.context, star.opaque_id)
    await read_everything(viewer, star)
    await blocks.block(viewer.context, other.opaque_id, expires_at=None)
    report = await compared(await read_everything(viewer, star), shards, redis)
    assert report.compared["this process"] > 0 < report.compared["redis"]
    assert stale_about(report, star, viewer, other) == set()


async def test_a_change_that_nobody_was_told_of_is_found_in_both_places(
    make_person: MakePerson, shards: ShardMap, redis: Redis
) -> None:
    star, viewer = await make_person(), await make_person()
    await follows.follow(viewer.context, star.opaque_id)
    lines = await read_everything(viewer, star)
    silent = Database(shards, viewer.backend.database.ids)
    await change_user(silent, star.id, lambda user: structs.replace(user, bio="new"), event=EventType.USER_UPDATED)
    report = await compared(lines, shards, redis)
    assert stale_about(report, star, viewer) == {("redis", "user", star.id), ("this process", "user", star.id)}


async def test_who_is_counted_is_compared_where_the_counters_are_right(
    make_person: MakePerson, shards: ShardMap, redis: Redis
) -> None:
    star, viewer, other = await make_person(), await make_person(), await make_person()
    await follows.follow(viewer.context, star.opaque_id)
    caches, lines = viewer.backend.caches, list[Line]()

    async def is_in_both_places() -> bool:
        caches.memory.clear()  # what came along with a person is asked for by itself, and stored
        await Loaders(caches, None, dt.datetime.now(dt.UTC)).tallies.load(star.id)
        await caches.settle()
        lines[:] = [line for line in await describe(caches) if line.kind == TALLIES.name and line.key == star.id]
        key = TALLIES.key(caches.generations.of(cell_of(star.id)) or 0, star.id)
        return bool(lines) and bool(await redis.run(lambda client: client.exists(key)))

    await eventually(is_in_both_places)
    await shards.home(star.id).fetch(
        "UPDATE relationships SET other_id = $3 WHERE owner_id = $1 AND other_id = $2", star.id, viewer.id, other.id
    )
    stale = stale_about(await compared(lines, shards, redis), star)
    assert stale == {("redis", "tally", star.id), ("this process", "tally", star.id)}


async def test_whom_the_hidden_know_is_compared(
    make_person: MakePerson, shards: ShardMap, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "LISTED", 0)
    star, viewer, foe, other = [await make_person() for _ in range(4)]
    await blocks.block(foe.context, viewer.opaque_id, expires_at=None)
    for idol in (star, other):
        await follows.follow(foe.context, idol.opaque_id)
    caches, lines = viewer.backend.caches, list[Line]()

    async def is_kept() -> bool:
        await Loaders(caches, viewer.id, dt.datetime.now(dt.UTC)).counts.load(star.id)
        await follows.unfollow(foe.context, other.opaque_id)  # what has changed since is not used
        lines[:] = [line for line in await describe(caches) if line.kind == NAME and _owner(line.key) == viewer.id]
        return bool(lines)

    await eventually(is_kept)
    assert stale_about(await compared(lines, shards, redis), viewer) == set()
    await shards.home(foe.id).fetch(
        "UPDATE relationships SET other_id = $3 WHERE owner_id = $1 AND other_id = $2", foe.id, star.id, viewer.id + 1
    )
    [(where, kind, _)] = stale_about(await compared(lines, shards, redis), viewer)
    assert (where, kind) == ("this process", NAME)
