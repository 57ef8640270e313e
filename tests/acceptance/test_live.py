"""Who begins to follow somebody, told over a WebSocket while it happens, on one cell and on two."""

import statistics
import sys
from time import monotonic
from typing import Final

import pytest

from tests.acceptance.people import Data, Live, People, cursor_of_now, first_event

ROUNDS: Final = 20
EACH_WITHIN_S: Final = 5.0
QUIET_FOR_S: Final = 0.5


async def expect_quiet(live: Live) -> None:
    """Wait for nothing."""
    with pytest.raises(TimeoutError):
        await live.next(within=QUIET_FOR_S)
    await live.stop()


def actor_of(event: Data) -> str:
    return str(event["actor"]["username"])


async def test_each_follow_is_told_while_it_happens(people: People) -> None:
    owner, follower = people.take(), people.take()
    latencies = []
    async with owner.live() as live:
        await first_event(follower, owner, live)
        for _ in range(ROUNDS):
            await follower.unfollow(owner)
            began = monotonic()
            await follower.follow(owner)
            event = await live.next(within=EACH_WITHIN_S)
            latencies.append(monotonic() - began)
            assert (actor_of(event), event["kind"]) == (follower.name, "FOLLOW")
    median, longest = (1000 * seconds for seconds in (statistics.median(latencies), max(latencies)))
    sys.stdout.write(f"\nfollow to event, {ROUNDS} rounds: median {median:.1f} ms, longest {longest:.1f} ms\n")
    assert longest < 1000 * EACH_WITHIN_S


async def test_a_stream_resumes_after_its_cursor_without_gap_or_repetition(people: People) -> None:
    owner, followers = people.take(), [people.take() for _ in range(5)]
    cursor = await cursor_of_now(people, owner)
    told: list[str] = []
    for number, follower in enumerate(followers):
        await follower.follow(owner)
        if number % 2:
            continue  # the next connection hears of this one and of the one after
        async with owner.live(after=cursor) as live:
            while len(told) <= number:
                event = await live.next()
                told.append(actor_of(event))
                cursor = event["cursor"]
            await expect_quiet(live)
    assert sorted(told) == sorted(follower.name for follower in followers)


async def test_an_older_cursor_tells_the_same_events_again_with_the_same_ids(people: People) -> None:
    owner, followers = people.take(), [people.take() for _ in range(2)]
    cursor = await cursor_of_now(people, owner)
    for follower in followers:
        await follower.follow(owner)
    readings = []
    for _ in range(2):
        async with owner.live(after=cursor) as live:
            readings.append([await live.next() for _ in followers])
    assert {actor_of(event) for event in readings[0]} == {follower.name for follower in followers}
    assert readings[0] == readings[1]
    assert len({event["id"] for event in readings[0]}) == len(followers)


async def test_what_somebody_did_who_is_blocked_now_is_not_told(people: People) -> None:
    owner, blocked, blocker, follower = (people.take() for _ in range(4))
    cursor = await cursor_of_now(people, owner)
    await blocked.follow(owner)
    await blocker.follow(owner)
    async with owner.live(after=cursor) as live:
        assert {actor_of(await live.next()) for _ in range(2)} == {blocked.name, blocker.name}
    await owner.act("blockUser", userId=blocked.id)
    await blocker.act("blockUser", userId=owner.id)
    await follower.follow(owner)
    async with owner.live(after=cursor) as live:
        assert actor_of(await live.next()) == follower.name
        await expect_quiet(live)


async def test_a_follow_that_changes_nothing_is_not_told(people: People) -> None:
    owner, follower = people.take(), people.take()
    async with owner.live() as live:
        await first_event(follower, owner, live)
        await follower.follow(owner)
        await follower.follow(owner)
        await expect_quiet(live)


async def test_only_the_followed_is_told(people: People) -> None:
    owner, other, follower = people.take(), people.take(), people.take()
    cursor = await cursor_of_now(people, other)
    await follower.follow(owner)
    async with other.live(after=cursor) as live:
        await expect_quiet(live)


async def test_two_streams_of_one_person_tell_both(people: People) -> None:
    owner, follower = people.take(), people.take()
    cursor = await cursor_of_now(people, owner)
    async with owner.live(after=cursor) as one, owner.live(after=cursor) as other:
        await follower.follow(owner)
        assert await one.next() == await other.next()
