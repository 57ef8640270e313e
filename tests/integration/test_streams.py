"""A subscriber's stream: resumed without gap or repetition, bounded, and cut as the subscriber chose."""

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from domain.errors import CursorExpired, FellBehind, InvalidInput, Overloaded
from domain.notifications import NotificationKind
from domain.overflow import OverflowPolicy
from resolvers import backlog, blocks, notifications
from resolvers.delivery import Delivered, encode_cursor
from resolvers.notifications import stream
from resolvers.visibility import meet
from storage import notifications as rows
from storage.database import Database
from storage.notifications import NewNotification, add_notification
from tests.conftest import MakePerson, Person

FOLLOWS = frozenset({NotificationKind.FOLLOW})
BATCH = 5


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read few at once, and often: nobody rings here when something is added."""
    monkeypatch.setattr(backlog, "BATCH", BATCH)
    monkeypatch.setattr(notifications, "POLL_EVERY_S", 0.1)


@pytest.fixture
async def owner(make_person: MakePerson) -> Person:
    return await make_person()


@pytest.fixture
async def fans(make_person: MakePerson) -> list[Person]:
    return [await make_person() for _ in range(3 * BATCH)]


async def tell(
    database: Database, owner: Person, actors: Sequence[Person], kind: NotificationKind = NotificationKind.FOLLOW
) -> None:
    for actor in actors:
        new = NewNotification(owner.id, uuid.uuid4(), kind, actor.id, dt.datetime.now(dt.UTC))
        assert await add_notification(database, new)


@contextlib.asynccontextmanager
async def listening(
    owner: Person,
    after: int | None,
    overflow: OverflowPolicy = OverflowPolicy.CLOSE,
    kinds: frozenset[NotificationKind] = FOLLOWS,
) -> AsyncIterator[AsyncIterator[Delivered]]:
    cursor = encode_cursor(owner.context, owner.id, after) if after is not None else None
    async with contextlib.aclosing(stream(owner.context, kinds, cursor, overflow)) as source, asyncio.timeout(60):
        yield source


def actors_of(events: Sequence[Delivered]) -> list[int]:
    return [event.actor.user.id for event in events]


async def test_a_history_of_many_batches_is_told_whole_and_goes_on_live(
    database: Database, owner: Person, fans: list[Person]
) -> None:
    await tell(database, owner, fans[:12])
    async with listening(owner, 0) as events:
        told = [await anext(events) for _ in range(12)]
        await tell(database, owner, fans[12:])
        told += [await anext(events) for _ in fans[12:]]
    assert actors_of(told) == [fan.id for fan in fans]


async def test_other_kinds_hold_nothing_up(database: Database, owner: Person, fans: list[Person]) -> None:
    await tell(database, owner, fans[:3])
    await tell(database, owner, fans[:12], NotificationKind.FOLLOW_REQUEST)
    await tell(database, owner, fans[3:5])
    async with listening(owner, 0) as events:
        assert actors_of([await anext(events) for _ in range(5)]) == [fan.id for fan in fans[:5]]
    async with listening(owner, 0, kinds=frozenset(NotificationKind)) as events:
        assert len([await anext(events) for _ in range(17)]) == 17


async def caught_up(events: AsyncIterator[Delivered], database: Database, owner: Person, fan: Person) -> None:
    """Read up to the end, so that what comes is live."""
    await tell(database, owner, [fan])
    assert (await anext(events)).actor.user.id == fan.id


async def test_whoever_is_too_slow_is_given_a_cursor_and_resumes_without_gap(
    database: Database, owner: Person, fans: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(owner, 0) as events:
        await caught_up(events, database, owner, fans[0])
        await tell(database, owner, fans[1:])
        told = [await anext(events)]
        monkeypatch.setattr(backlog, "PATIENCE_S", 0.0)
        with pytest.raises(FellBehind) as fell:
            await anext(events)
    cursor = str(fell.value.extensions["resumeAfter"])
    async with contextlib.aclosing(stream(owner.context, FOLLOWS, cursor)) as events:
        told += [await anext(events) for _ in fans[2:]]  # catching up is never too slow
    assert actors_of(told) == [fan.id for fan in fans[1:]]


@pytest.mark.parametrize("overflow", [OverflowPolicy.DROP_OLDEST, OverflowPolicy.COALESCE])
async def test_what_is_dropped_is_counted_without_the_hidden(
    database: Database,
    owner: Person,
    fans: list[Person],
    monkeypatch: pytest.MonkeyPatch,
    overflow: OverflowPolicy,
) -> None:
    kept = BATCH if overflow is OverflowPolicy.DROP_OLDEST else 1
    async with listening(owner, 0, overflow) as events:
        await caught_up(events, database, owner, fans[0])
        await tell(database, owner, fans[1:])
        assert (await anext(events)).actor.user.id == fans[1].id
        await blocks.block(owner.context, fans[3].opaque_id, expires_at=None)
        monkeypatch.setattr(backlog, "PATIENCE_S", 0.0)
        event = await anext(events)
        monkeypatch.setattr(backlog, "PATIENCE_S", 60.0)
        told = [event, *[await anext(events) for _ in range(kept - 1)]]
    assert actors_of(told) == [fan.id for fan in fans[-kept:]]
    assert [event.dropped for event in told] == [len(fans) - 2 - 1 - kept, *[0] * (kept - 1)]


async def test_a_slow_subscriber_who_is_less_than_a_batch_behind_loses_nothing(
    database: Database, owner: Person, fans: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "PATIENCE_S", 0.0)
    async with listening(owner, 0) as events:
        await caught_up(events, database, owner, fans[0])
        await tell(database, owner, fans[1 : BATCH + 1])
        assert len([await anext(events) for _ in range(BATCH)]) == BATCH


async def test_what_was_read_and_is_withdrawn_before_its_turn_is_not_told(
    database: Database, owner: Person, fans: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "FRESH_S", 0.0)
    await tell(database, owner, fans[:3])
    async with listening(owner, 0) as events:
        assert (await anext(events)).actor.user.id == fans[0].id
        await database.shards.home(owner.id).fetch(
            "UPDATE notifications SET withdrawn = true WHERE owner_id = $1 AND actor_id = $2", owner.id, fans[1].id
        )
        assert (await anext(events)).actor.user.id == fans[2].id


async def test_a_cell_that_does_not_answer_is_waited_for(
    database: Database, owner: Person, fans: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    await tell(database, owner, fans[:3])
    failing = set(range(1, 12, 2))

    def failing_at_times(work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def fail(*arguments: Any) -> Any:
            turns.append(None)
            if len(turns) in failing:
                raise Overloaded
            return await work(*arguments)

        turns: list[None] = []
        return fail

    monkeypatch.setattr(notifications, "PAUSE_S", (0.0, 0.0))
    monkeypatch.setattr(notifications, "meet", failing_at_times(meet))
    monkeypatch.setattr(rows, "fetch_after", failing_at_times(rows.fetch_after))
    async with listening(owner, 0) as events:
        assert actors_of([await anext(events) for _ in range(3)]) == [fan.id for fan in fans[:3]]


async def test_a_cursor_whose_history_is_gone_is_expired(database: Database, owner: Person, fans: list[Person]) -> None:
    await tell(database, owner, fans[:4])
    await database.shards.home(owner.id).fetch(
        "DELETE FROM notifications WHERE owner_id = $1 AND sequence <= 2", owner.id
    )
    async with listening(owner, 2) as events:
        assert (await anext(events)).actor.user.id == fans[2].id
    for gone in (0, 1, 5):
        async with listening(owner, gone) as events:
            with pytest.raises(CursorExpired):
                await anext(events)


async def test_a_cursor_of_somebody_else_is_refused(owner: Person, fans: list[Person]) -> None:
    cursor = encode_cursor(fans[0].context, fans[0].id, 0)
    async with contextlib.aclosing(stream(owner.context, FOLLOWS, cursor)) as events:
        with pytest.raises(InvalidInput):
            await anext(events)
