"""What is remembered: how much it saves, and that nothing which has ended is used. On one cell and on two."""

import asyncio
import contextlib
import dataclasses
import gc
import uuid
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from domain.errors import InvalidInput, Overloaded
from domain.events import BlockPayload, EventType, MutePayload, UserPayload
from domain.ids import OpaqueIds
from domain.policies import MOST_RESTRICTIVE
from domain.relationships import STRANGERS
from domain.transitions import block, follow
from domain.users import User
from events.records import ReceivedEvent
from events.remembering import forget_what_changed, refresh
from execution.engine import Operation
from loaders import Caches, open_caches
from resolvers import blocks, follows
from resolvers.context import Backend, new_context
from storage import epochs, freshness, pairs
from storage.block_sets import LOADED, block_set_key
from storage.cells import Cell, Record, ShardMap
from storage.database import Database
from storage.entries import read_word
from storage.exchanges import Command
from storage.mutes import Mute, change_mute
from storage.pairs import change_pair
from storage.redis_client import CacheUnavailable, Redis
from storage.relationships import fetch_relationships
from storage.users import change_user
from tests.asking import ask, prepare
from tests.cold import is_watch, make_cold
from tests.conftest import KEY, MakePerson, Person, eventually
from tests.integration.test_names import fresh, rename
from tests.integration.test_pairs import now

PROFILE = """
query($name: String!) { user(username: $name) {
    id username displayName bio createdAt followersCount followingCount isPrivate viewerIsFollowing } }
"""
PAGE = """
query($name: String!) { user(username: $name) { id followers(first: 50) { edges { cursor node {
    id username displayName bio avatarUrl followersCount viewerIsFollowing } } pageInfo { hasNextPage endCursor } } } }
"""
PAGE_AND_COUNT = """
query($name: String!) { user(username: $name) { followersCount followers(first: 5) { nodes { id } } } }
"""
LEVELS = """
query($name: String!) { user(username: $name) { followers(first: 10) { nodes {
    username followers(first: 10) { nodes { username followersCount } } } } } }
"""


@dataclasses.dataclass(slots=True)
class Spent:
    """Statements by cell, and round trips to Redis."""

    statements: dict[int, int] = dataclasses.field(default_factory=dict)
    trips: int = 0


@contextlib.contextmanager
def spending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spent]:
    spent = Spent()
    fetch, run, exchange = Cell._fetch, Redis.run, Redis.exchange

    async def fetching(self: Cell, statement: str, *rest: Any) -> list[Record]:
        if not is_watch(statement):
            spent.statements[self.number] = spent.statements.get(self.number, 0) + 1
        return await fetch(self, statement, *rest)

    async def running(self: Redis, call: Callable[[Any], Awaitable[Any]]) -> Any:
        spent.trips += 1
        return await run(self, call)

    async def exchanging(self: Redis, commands: Sequence[Command]) -> list[Any]:
        spent.trips += 1
        return await exchange(self, commands)

    with monkeypatch.context() as patched:
        patched.setattr(Cell, "_fetch", fetching)
        patched.setattr(Redis, "run", running)
        patched.setattr(Redis, "exchange", exchanging)
        yield spent


@contextlib.asynccontextmanager
async def another_process(backend: Backend, shards: ShardMap, redis: Redis) -> Any:
    """Run a second set of caches beside the first, as another process has it."""
    async with open_caches(shards, OpaqueIds(KEY), redis) as caches:
        await asyncio.gather(*map(caches.generations.look, shards.cells))
        yield dataclasses.replace(backend, caches=caches)


async def crowd(make_person: MakePerson, star: Person, size: int) -> list[Person]:
    people = [await make_person() for _ in range(size)]
    for one in people:
        await follows.follow(one.context, star.opaque_id)
    return people


@pytest.mark.parametrize("query", [PROFILE, PAGE, LEVELS], ids=["profile", "page of 50", "two levels"])
async def test_what_is_warm_costs_one_round_trip_and_no_statement(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    star, viewer = await make_person(), await make_person()
    await crowd(make_person, star, 12)
    first = await ask(viewer.context, query, name=star.name)
    await viewer.backend.caches.settle()
    with spending(monkeypatch) as spent:
        again = await ask(viewer.context, query, name=star.name)
    assert again == first
    assert spent == Spent({}, 1)


@pytest.mark.parametrize("query", [PROFILE, PAGE, LEVELS], ids=["profile", "page of 50", "two levels"])
async def test_what_is_warm_is_answered_at_once_when_the_one_look_at_redis_is_done(
    make_person: MakePerson, query: str
) -> None:
    star, viewer = await make_person(), await make_person()
    await crowd(make_person, star, 2)
    expected = await ask(viewer.context, query, name=star.name)

    async def waits_for_nothing() -> bool:
        context = viewer.context
        operation = prepare(context, query, name=star.name)
        assert isinstance(operation, Operation)
        looking = context.loaders.begin()
        assert looking is not None
        await looking
        begun = operation.begin()
        at_once = isinstance(begun, dict)
        assert (begun if isinstance(begun, dict) else await begun) == expected
        return at_once

    await eventually(waits_for_nothing)


@pytest.mark.parametrize("query", [PROFILE, PAGE, LEVELS], ids=["profile", "page of 50", "two levels"])
async def test_what_an_operation_made_is_freed_without_the_collector_of_cycles(
    make_person: MakePerson, query: str
) -> None:
    star, viewer = await make_person(), await make_person()
    await crowd(make_person, star, 2)
    for _ in range(3):
        await ask(viewer.context, query, name=star.name)
    context = viewer.context
    loaders = weakref.ref(context.loaders)
    gc.disable()
    try:
        await ask(context, query, name=star.name)
        del context
        await eventually(lambda: asyncio.sleep(0, loaders() is None))
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("query", "most"), [(PROFILE, 3), (PAGE, 5), (LEVELS, 6)], ids=["profile", "page of 50", "two levels"]
)
async def test_what_is_cold_costs_few_statements_per_cell(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch, query: str, most: int
) -> None:
    star, viewer = await make_person(), await make_person()
    for fan in await crowd(make_person, star, 12):
        await follows.follow(star.context, fan.opaque_id)
    await make_cold(viewer.backend.caches)
    with spending(monkeypatch) as spent:
        response = await ask(viewer.context, query, name=star.name)
    assert "errors" not in response
    assert max(spent.statements.values()) <= most


async def test_what_memory_has_lost_redis_still_knows(make_person: MakePerson, monkeypatch: pytest.MonkeyPatch) -> None:
    star, viewer = await make_person(), await make_person()
    await crowd(make_person, star, 5)
    for _ in range(2):  # counts that came along with people are stored when they are asked for by themselves
        await ask(viewer.context, PAGE, name=star.name)
        await viewer.backend.caches.settle()
        viewer.backend.caches.forget_all()
    with spending(monkeypatch) as spent:
        again = await ask(viewer.context, PAGE, name=star.name)
    assert again["data"]["user"]["id"] == star.opaque_id
    assert spent.statements == {}


async def test_five_hundred_who_look_at_one_cold_celebrity_make_one_statement(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star = await make_person()
    contexts = [new_context(star.backend, None) for _ in range(500)]
    await make_cold(star.backend.caches)
    with spending(monkeypatch) as spent:
        found = await asyncio.gather(*(context.loaders.users.load(star.id) for context in contexts))
    assert {user.username for user in found if user} == {star.name}
    assert sum(spent.statements.values()) == 1


async def test_a_block_holds_at_once_in_a_process_that_remembers_the_time_before(
    make_person: MakePerson, backend: Backend, shards: ShardMap, redis: Redis
) -> None:
    star, viewer = await make_person(), await make_person()
    async with another_process(backend, shards, redis) as elsewhere:
        for _ in range(20):
            seen = await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
            assert seen["data"]["user"] is not None
            await blocks.block(star.context, viewer.opaque_id, expires_at=None)
            hidden = await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
            assert hidden["data"]["user"] is None
            await blocks.unblock(star.context, viewer.opaque_id)


async def test_a_stricter_policy_holds_at_once_in_a_process_that_remembers_the_time_before(
    make_person: MakePerson, backend: Backend, shards: ShardMap, redis: Redis
) -> None:
    star, viewer = await make_person(bio="mine"), await make_person()

    def close(user: User) -> User:
        return msgspec.structs.replace(user, policy=MOST_RESTRICTIVE)

    async with another_process(backend, shards, redis) as elsewhere:
        seen = await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
        assert seen["data"]["user"]["bio"] == "mine"
        await change_user(backend.database, star.id, close, event=EventType.PRIVACY_UPDATED)
        hidden = await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
        assert hidden["data"]["user"]["bio"] is None


async def test_where_the_epoch_is_ignored_a_block_is_overlooked(
    make_person: MakePerson, backend: Backend, shards: ShardMap, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take the guard away: the test of the block has something to find."""
    star, viewer = await make_person(), await make_person()
    async with another_process(backend, shards, redis) as elsewhere:
        caches: Caches = elsewhere.caches

        async def always_the_same(_viewer_id: int | None) -> bytes:
            return b"the same"

        monkeypatch.setattr(caches.pulse, "read", always_the_same)
        overlooked = 0
        for _ in range(20):
            await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
            await blocks.block(star.context, viewer.opaque_id, expires_at=None)
            seen = await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
            overlooked += seen["data"]["user"] is not None
            await blocks.unblock(star.context, viewer.opaque_id)
        assert overlooked > 0


async def test_a_count_is_exact_at_once_in_a_process_that_remembers_the_time_before(
    make_person: MakePerson, backend: Backend, shards: ShardMap, redis: Redis
) -> None:
    star, fan = await make_person(), await make_person()
    async with another_process(backend, shards, redis) as elsewhere:
        for followers in (1, 0, 1):
            await (follows.follow if followers else follows.unfollow)(fan.context, star.opaque_id)
            seen = await ask(new_context(elsewhere, fan.id), PAGE_AND_COUNT, name=star.name)
            assert seen["data"]["user"]["followersCount"] == followers
            assert len(seen["data"]["user"]["followers"]["nodes"]) == followers


async def test_a_name_that_is_given_up_leads_nowhere_at_once_in_a_process_that_remembers_it(
    make_person: MakePerson, backend: Backend, database: Database, shards: ShardMap, redis: Redis
) -> None:
    star, viewer = await make_person(), await make_person()
    async with another_process(backend, shards, redis) as elsewhere:
        assert (await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name))["data"]["user"] is not None
        await rename(database, star, fresh(), keep_former=False)
        assert (await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name))["data"]["user"] is None


async def test_a_process_that_has_missed_much_forgets_everything_and_hears_on_from_there(
    make_person: MakePerson, backend: Backend, shards: ShardMap, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    star = await make_person()
    monkeypatch.setattr(epochs, "_PAGES", 1)
    async with another_process(backend, shards, redis) as elsewhere:

        async def is_remembered(changes: int) -> bool:
            await ask(new_context(elsewhere, None), PROFILE, name=star.name)
            for _ in range(0, changes, 100):
                await redis.exchange(epochs.announcement((epochs.NOBODY,)) * 100)
            await elsewhere.caches.begin(None)
            return elsewhere.caches.users.recall_one(star.id) is not None

        assert [await is_remembered(changes) for changes in (0, 100, epochs._PAGE, 100)] == [True, True, False, True]


async def test_a_process_that_has_missed_some_reads_on_and_forgets_whom_they_concern(
    make_person: MakePerson, backend: Backend, shards: ShardMap, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, other = await make_person(), await make_person()
    monkeypatch.setattr(epochs, "_PAGE", 100)
    async with another_process(backend, shards, redis) as elsewhere:
        for person in (star, other):
            await ask(new_context(elsewhere, None), PROFILE, name=person.name)
        await redis.exchange(epochs.announcement((epochs.NOBODY,)) * 250)
        await redis.exchange(epochs.announcement((star.id,)))
        await elsewhere.caches.begin(None)
        remembered = [elsewhere.caches.users.recall_one(person.id) is not None for person in (star, other)]
        assert remembered == [False, True]


async def test_a_change_that_cannot_be_told_begins_a_generation_in_which_nothing_old_is_found(
    make_person: MakePerson, backend: Backend, shards: ShardMap, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewer = await make_person(), await make_person()
    async with another_process(backend, shards, redis) as elsewhere:
        await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
        await elsewhere.caches.settle()
        with monkeypatch.context() as patched:

            async def away(*_steps: object) -> None:
                raise CacheUnavailable

            patched.setattr(redis, "in_order", away)
            await blocks.block(star.context, viewer.opaque_id, expires_at=None)
        hidden = await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
        assert hidden["data"]["user"] is None


async def test_changes_that_cannot_be_told_are_one_line_of_the_log(
    make_person: MakePerson, redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    star, *others = [await make_person() for _ in range(4)]

    async def away(*_steps: object) -> None:
        raise CacheUnavailable

    monkeypatch.setattr(redis, "in_order", away)
    for other in others:
        await follows.follow(other.context, star.opaque_id)
    assert sum("told to Redis" in message for message in caplog.messages) == 1


async def test_whoever_presents_a_token_sees_no_less_than_what_gave_it(
    make_person: MakePerson, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewer = await make_person(), await make_person()
    await ask(viewer.context, PROFILE, name=star.name)  # remembered from before
    monkeypatch.setattr(Redis, "in_order", told_nothing)
    monkeypatch.setattr(backend.caches, "forget", lambda *_change: None)
    monkeypatch.setattr("storage.freshness.write_newer", told_nothing)
    edited = await ask(star.context, 'mutation { updateProfile(input: {bio: "new"}) { consistencyToken } }')
    followed = await ask(
        viewer.context,
        "mutation($id: ID!) { followUser(input: {userId: $id}) { consistencyToken } }",
        id=star.opaque_id,
    )
    query = "query($name: String!) { user(username: $name) { bio viewerIsFollowing } }"

    async def seen(token: str | None) -> Any:
        context = new_context(backend, viewer.id, consistency_token=token)
        return (await ask(context, query, name=star.name))["data"]["user"]

    profile_token = edited["data"]["updateProfile"]["consistencyToken"]
    pair_token = followed["data"]["followUser"]["consistencyToken"]
    assert (await seen(profile_token))["bio"] == "new"
    assert (await seen(pair_token))["viewerIsFollowing"] is True


async def told_nothing(*_details: object) -> list[None]:
    """Stand for news that never arrives."""
    return []


@pytest.mark.parametrize("token", ["", "x", "AAAA", "é" * 40, "A" * 200])
async def test_a_forged_token_is_refused(backend: Backend, token: str) -> None:
    with pytest.raises(InvalidInput):
        new_context(backend, None, consistency_token=token)


async def test_an_event_makes_good_what_its_maker_could_not_tell(
    make_person: MakePerson, backend: Backend, redis: Redis
) -> None:
    star, viewer = await make_person(), await make_person()
    await ask(viewer.context, PROFILE, name=star.name)
    await backend.caches.settle()
    silent = Database(backend.database.shards, backend.database.ids)  # its maker died right after the commit
    change = await change_pair(silent, star.id, viewer.id, block(until=None), now())
    assert change is not None
    payload = BlockPayload(blocker_id=star.opaque_id, blocked_id=viewer.opaque_id, pair_version=change.after.version)
    event = ReceivedEvent(uuid.uuid4(), EventType.USER_BLOCKED, now(), star.opaque_id, payload)
    await refresh(backend.database, redis, event)
    hidden = await ask(viewer.context, PROFILE, name=star.name)
    assert hidden["data"]["user"] is None
    members = await redis.run(lambda client: client.smembers(block_set_key(star.opaque_id)))
    assert members == {LOADED.encode(), viewer.opaque_id.encode()}


async def test_a_mute_whose_maker_could_not_tell_is_told_by_its_event(
    make_person: MakePerson, backend: Backend, redis: Redis
) -> None:
    star, viewer = await make_person(), await make_person()
    [before] = await viewer.context.loaders.fetch_relationships([star.id])
    await backend.caches.settle()
    silent = Database(backend.database.shards, backend.database.ids)
    await change_mute(silent, viewer.id, star.id, Mute(None))
    payload = MutePayload(muter_id=viewer.opaque_id, muted_id=star.opaque_id, expires_at=None)
    event = ReceivedEvent(uuid.uuid4(), EventType.USER_MUTED, now(), viewer.opaque_id, payload)
    await refresh(backend.database, redis, event)
    [after] = await viewer.context.loaders.fetch_relationships([star.id])
    assert (before.mutes, after.mutes) == (False, True)


async def test_no_name_and_no_text_of_a_person_is_in_a_key(make_person: MakePerson, redis: Redis) -> None:
    star = await make_person(display_name="Canary")
    await ask(star.context, PROFILE, name=star.name)
    await star.backend.caches.settle()
    keys = await redis.run(lambda client: client.keys("*"))
    assert keys
    assert not [key for key in keys if star.name.encode() in key or b"Canary" in key]


async def test_memory_is_not_used_while_changes_are_unheard(
    make_person: MakePerson, caches: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewer = await make_person(), await make_person()
    silence = 0.0
    async with caches.trusting(lambda: silence):
        await ask(viewer.context, PROFILE, name=star.name)
        silence = 60.0
        await eventually(lambda: asyncio.sleep(0, caches.memory.is_off))
        with spending(monkeypatch) as spent:
            await ask(viewer.context, PROFILE, name=star.name)
        assert spent.trips > 1
        silence = 0.0
        await eventually(lambda: asyncio.sleep(0, not caches.memory.is_off))


async def test_an_event_ends_only_what_is_older_than_it(make_person: MakePerson, caches: Caches) -> None:
    star = await make_person()
    await star.context.loaders.users.load(star.id)
    for version, is_kept in ((1, True), (2, False)):
        payload = UserPayload(user_id=star.opaque_id, user_version=version)
        event = ReceivedEvent(uuid.uuid4(), EventType.USER_UPDATED, now(), star.opaque_id, payload)
        forget_what_changed(caches.database, caches, event)
        assert (caches.users.recall_one(star.id) is not None) is is_kept


@pytest.mark.parametrize("action", ["followUser", "unfollowUser", "blockUser", "unblockUser"])
async def test_what_two_are_to_others_is_known_after_a_change_in_the_process_that_made_it(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    star, viewer, other = await make_person(), await make_person(), await make_person()
    await follows.follow(viewer.context, star.opaque_id)
    await follows.follow(star.context, other.opaque_id)
    for one in (star, viewer):
        await one.context.loaders.fetch_people([other.id])
    text = f"mutation($id: ID!) {{ {action}(input: {{ userId: $id }}) {{ userErrors {{ code }} }} }}"
    await ask(viewer.context, text, id=star.opaque_id)
    await viewer.backend.caches.settle()
    await viewer.backend.bell.close()
    with spending(monkeypatch) as spent:
        seen = [await one.context.loaders.fetch_relationships([other.id, star.id]) for one in (viewer, star)]
    assert spent == Spent({}, 2), "each looks once at what has changed"
    for one, found in zip((viewer, star), seen, strict=True):
        truth = await fetch_relationships(one.backend.database, one.id, [other.id, star.id])
        assert found == [truth.get(other.id, STRANGERS), truth.get(star.id, STRANGERS)]


async def test_of_a_change_that_is_not_yet_in_both_cells_no_word_is_left_that_it_was_told(
    make_person: MakePerson, shards: ShardMap, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    if len(shards.cells) == 1:
        pytest.skip("there is no other cell")
    ana, bo = await make_person(cell=0), await make_person(cell=1)
    key = freshness._word_of_pair(ana.id, bo.id)

    async def is_away(*_side: object) -> bool:
        raise Overloaded(retryAfter=1)

    with monkeypatch.context() as patched:
        patched.setattr(pairs, "_apply_side", is_away)
        with pytest.raises(Overloaded):
            await follows.follow(ana.context, bo.opaque_id)
    assert await read_word(redis, key) == 0
    await follows.follow(ana.context, bo.opaque_id)
    assert await read_word(redis, key) == 1


async def test_what_another_has_changed_meanwhile_ends_what_a_maker_would_keep(
    make_person: MakePerson, backend: Backend, shards: ShardMap, redis: Redis
) -> None:
    star, viewer, other = await make_person(), await make_person(), await make_person()
    async with another_process(backend, shards, redis) as elsewhere:
        looking = viewer.context
        await looking.loaders.fetch_people([other.id, star.id])
        await blocks.block(new_context(elsewhere, other.id), viewer.opaque_id, expires_at=None)
        known = (await looking.loaders.fetch_relationships([star.id]))[0]
        await change_pair(backend.database, viewer.id, star.id, follow(target_is_private=False), now(), known=known)
        [pair] = await viewer.context.loaders.fetch_relationships([other.id])
        assert pair.blocked_by


async def test_a_caller_that_goes_away_after_the_commit_does_not_stop_the_news(
    make_person: MakePerson, backend: Backend, shards: ShardMap, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewer = await make_person(), await make_person()
    arrived, go_on, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    tell = backend.database.freshness.pair_changed

    async def slow(*people: int, **details: Any) -> None:
        arrived.set()
        await go_on.wait()
        await tell(*people, **details)
        told.set()

    async with another_process(backend, shards, redis) as elsewhere:
        await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
        monkeypatch.setattr(type(backend.database.freshness), "pair_changed", lambda _self, *a, **k: slow(*a, **k))
        blocking = asyncio.create_task(blocks.block(star.context, viewer.opaque_id, expires_at=None))
        await arrived.wait()
        blocking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocking
        go_on.set()
        async with asyncio.timeout(60):
            await told.wait()
        hidden = await ask(new_context(elsewhere, viewer.id), PROFILE, name=star.name)
        assert hidden["data"]["user"] is None
