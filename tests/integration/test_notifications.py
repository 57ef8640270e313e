"""What people were told: in groups, less whoever is hidden, read by marks, and kept for a while."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import pytest
from msgspec import structs

from domain.errors import InvalidInput
from domain.events import EventType, FollowPayload
from domain.ids import NodeType
from domain.notification_preferences import NotificationTreatment
from domain.notifications import NotificationKind
from domain.pages import page_request
from domain.policies import PrivacyPolicy
from domain.relationships import FollowState
from domain.users import UserState
from events.handlers import Handlers
from events.records import ReceivedEvent
from events.upkeep import Pace, Upkeep
from resolvers import blocks, follows, mutes, notification_groups, notification_marks, notification_preferences
from resolvers.delivery import deliver
from resolvers.notification_groups import Choice, NotificationPage, ShownGroup
from resolvers.visibility import meet_one
from storage import notification_marks as marks
from storage import notifications
from storage.cells import Cell
from storage.database import Database
from storage.departures import depart
from storage.notification_retention import Retention, trim_notifications
from storage.notifications import NewNotification, add_notification, fetch_after, fetch_floor, fetch_head
from storage.redis_client import Redis
from storage.relationships import fetch_relationships
from storage.users import change_user
from tests.conftest import MakePerson, Person

ALL = tuple(NotificationKind)
DAY = dt.timedelta(days=1)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def page_of(
    owner: Person,
    *,
    first: int | None = 100,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    kinds: Sequence[NotificationKind] = ALL,
    unread_only: bool = False,
    filtered: bool = False,
) -> NotificationPage:
    context = owner.context
    viewer = await meet_one(context, owner.id)
    assert viewer is not None
    request = page_request(first, after, last, before)
    return await notification_groups.fetch_page(context, viewer, Choice(kinds, unread_only, filtered), request)


async def groups_of(owner: Person, *, unread_only: bool = False, filtered: bool = False) -> list[ShownGroup]:
    return [edge.group for edge in (await page_of(owner, unread_only=unread_only, filtered=filtered)).edges]


async def faces(owner: Person, *, filtered: bool = False) -> list[tuple[str, list[int], int, int]]:
    """Give what the owner sees of each group: kind, the latest actors, count and how many are unread."""
    return [
        (group.key.kind.name, [actor.user.id for actor in group.actors], group.count, group.unread_count)
        for group in await groups_of(owner, filtered=filtered)
    ]


async def unread(owner: Person) -> int:
    return await notification_groups.fetch_unread_count(owner.context, owner.id)


async def mark_all(owner: Person) -> None:
    [newest, *_] = (await page_of(owner)).edges
    await notification_marks.mark_read(owner.context, up_to=newest.node.cursor, ids=None)


@pytest.fixture
def handlers(database: Database, redis: Redis) -> Handlers:
    return Handlers(database, redis)


async def version_of(database: Database, owner: Person, other: Person) -> int:
    return (await fetch_relationships(database, owner.id, [other.id]))[other.id].version


def fact(database: Database, kind: EventType, follower: Person, followee: Person, pair_version: int) -> ReceivedEvent:
    payload = FollowPayload(
        follower_id=database.ids.encode(NodeType.USER, follower.id),
        followee_id=database.ids.encode(NodeType.USER, followee.id),
        pair_version=pair_version,
    )
    return ReceivedEvent(id=uuid.uuid4(), type=kind, time=now(), key=follower.opaque_id, payload=payload)


async def follow(database: Database, handlers: Handlers, follower: Person, followee: Person) -> ReceivedEvent:
    """Follow somebody, or ask to, and have the event's effect."""
    await follows.follow(follower.context, followee.opaque_id)
    side = (await fetch_relationships(database, follower.id, [followee.id]))[followee.id]
    kind = EventType.FOLLOW_CREATED if side.follows is FollowState.ACTIVE else EventType.FOLLOW_REQUESTED
    event = fact(database, kind, follower, followee, side.version)
    await handlers.handle(event)
    return event


async def told(database: Database, owner: Person) -> list[int]:
    return [row.actor_id for row in await fetch_after(database, owner.id, 0, 1000)]


async def flood(
    database: Database, owner: Person, number: int, *, kind: NotificationKind = NotificationKind.FOLLOW
) -> None:
    """Write many notifications of people who were never there, as quickly as they can be written."""
    cell = database.shards.home(owner.id)
    first = await fetch_head(database, owner.id) + 1
    day = int(now().timestamp()) // 86_400 * 86_400
    for start in range(first, first + number, 5000):  # a statement has five seconds
        await cell.loans.pool.execute(
            """INSERT INTO notifications (owner_id, sequence, event_id, kind, actor_id, created_at, burst)
               SELECT $1, s, gen_random_uuid(), $4, -s, now(), $5 FROM generate_series($2::bigint, $3::bigint) s""",
            owner.id, start, min(start + 5000, first + number) - 1, kind, day,
        )  # fmt: skip
    await cell.loans.pool.execute(
        """INSERT INTO notification_groups AS g (owner_id, filtered, burst, kind, total, unread)
           VALUES ($1, false, $2, $3, $4, $4) ON CONFLICT (owner_id, filtered, burst, kind)
           DO UPDATE SET total = g.total + $4, unread = g.unread + $4""",
        owner.id, day, kind, number,
    )  # fmt: skip
    await cell.loans.pool.execute(
        "UPDATE user_counts SET notifications = notifications + $2, notifications_burst = $3 WHERE user_id = $1",
        owner.id, number, day,
    )  # fmt: skip


async def counted(database: Database, owner: Person) -> list[tuple[int, ...]]:
    """Compare the counts of every group with its rows; gives those that are wrong."""
    rows = await database.shards.home(owner.id).fetch(
        """SELECT g.burst, g.kind, g.total, g.unread, count(n.sequence) AS rows,
                  count(*) FILTER (WHERE n.read_at IS NULL AND n.sequence > g.read_to) AS unread_rows
           FROM notification_groups g
           LEFT JOIN notifications n ON n.owner_id = g.owner_id AND n.filtered = g.filtered AND n.burst = g.burst
                AND n.kind = g.kind AND NOT n.withdrawn
           WHERE g.owner_id = $1 GROUP BY g.owner_id, g.filtered, g.burst, g.kind""",
        owner.id,
    )
    return [tuple(row) for row in rows if (row["total"], row["unread"]) != (row["rows"], row["unread_rows"])]


async def test_those_who_follow_in_a_day_are_one_group_with_the_latest_three(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana = await make_person()
    fans = [await make_person() for _ in range(5)]
    for fan in fans:
        await follow(database, handlers, fan, ana)
    assert await faces(ana) == [("FOLLOW", [fan.id for fan in fans[:1:-1]], 5, 5)]
    assert await unread(ana) == 5
    [edge] = (await page_of(ana)).edges
    assert edge.node.actor.user.id == fans[-1].id


async def test_each_kind_is_a_group_of_its_own_and_kinds_can_be_chosen(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, bo = await make_person(policy=PrivacyPolicy(is_private=True)), await make_person()
    cy = await make_person()
    await follow(database, handlers, bo, ana)
    await follow(database, handlers, cy, ana)
    await follows.accept_request(ana.context, bo.opaque_id)
    await handlers.handle(fact(database, EventType.FOLLOW_CREATED, bo, ana, 2))
    await handlers.handle(fact(database, EventType.FOLLOW_ACCEPTED, bo, ana, 2))
    assert await faces(ana) == [("FOLLOW_REQUEST", [cy.id], 1, 1), ("FOLLOW", [bo.id], 1, 1)]
    assert await faces(bo) == [("FOLLOW_ACCEPTED", [ana.id], 1, 1)]
    page = await page_of(ana, kinds=[NotificationKind.FOLLOW])
    assert [edge.group.key.kind for edge in page.edges] == [NotificationKind.FOLLOW]
    assert await counted(database, ana) == []


async def test_groups_are_paged_in_both_directions_and_their_cursors_are_bound(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, fans = await make_person(), [await make_person() for _ in range(4)]
    for fan in fans:
        await follow(database, handlers, fan, ana)
        await mark_all(ana)
    actors = [fan.id for fan in reversed(fans)]
    assert [edge.node.actor.user.id for edge in (await page_of(ana)).edges] == actors
    one = await page_of(ana, first=3)
    assert (one.page_info.has_next_page, one.page_info.has_previous_page) == (True, False)
    two = await page_of(ana, first=3, after=one.page_info.end_cursor)
    assert [edge.node.actor.user.id for edge in two.edges] == actors[3:]
    assert not two.page_info.has_next_page
    back = await page_of(ana, first=None, last=2, before=two.edges[0].cursor)
    assert [edge.node.actor.user.id for edge in back.edges] == actors[1:3]
    for choice in ({"unread_only": True}, {"filtered": True}, {"kinds": [NotificationKind.FOLLOW]}):
        with pytest.raises(InvalidInput):
            await page_of(ana, after=one.page_info.end_cursor, **choice)
    with pytest.raises(InvalidInput):
        await page_of(fans[0], after=one.page_info.end_cursor)


async def test_a_group_is_opened_page_by_page(database: Database, handlers: Handlers, make_person: MakePerson) -> None:
    ana, fans = await make_person(), [await make_person() for _ in range(5)]
    for fan in fans:
        await follow(database, handlers, fan, ana)
    [group] = await groups_of(ana)
    newest_first = [fan.id for fan in reversed(fans)]
    [one] = await notification_groups.fetch_member_pages(ana.context, [group], page_request(3, None, None, None))
    assert [node.actor.user.id for node in one.nodes] == newest_first[:3]
    after = one.page_info.end_cursor
    [two] = await notification_groups.fetch_member_pages(ana.context, [group], page_request(3, after, None, None))
    assert [node.actor.user.id for node in two.nodes] == newest_first[3:]
    assert not two.page_info.has_next_page
    before = two.page_info.start_cursor
    [back] = await notification_groups.fetch_member_pages(ana.context, [group], page_request(None, None, 2, before))
    assert [node.actor.user.id for node in back.nodes] == newest_first[1:3]
    with pytest.raises(InvalidInput):
        await notification_groups.fetch_member_pages(
            ana.context, [group], page_request(3, group.latest.cursor, None, None)
        )


@pytest.mark.parametrize("by_owner", [True, False], ids=["the owner blocks", "the actor blocks"])
async def test_a_block_withdraws_what_was_told_and_its_end_brings_nothing_back(
    database: Database, handlers: Handlers, make_person: MakePerson, *, by_owner: bool
) -> None:
    ana, troll, friend = await make_person(), await make_person(), await make_person()
    for fan in (troll, friend):
        await follow(database, handlers, fan, ana)
    blocker, blocked = (ana, troll) if by_owner else (troll, ana)
    await blocks.block(blocker.context, blocked.opaque_id, expires_at=None)
    assert await faces(ana) == [("FOLLOW", [friend.id], 1, 1)]
    await blocks.unblock(blocker.context, blocked.opaque_id)
    assert await faces(ana) == [("FOLLOW", [friend.id], 1, 1)]
    assert await told(database, ana) == [friend.id]
    await follow(database, handlers, troll, ana)
    assert await faces(ana) == [("FOLLOW", [troll.id, friend.id], 2, 2)]
    assert await counted(database, ana) == []


async def test_what_was_on_its_way_before_a_block_is_not_told_after_its_end(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, troll = await make_person(), await make_person()
    await follows.follow(troll.context, ana.opaque_id)
    before = fact(database, EventType.FOLLOW_CREATED, troll, ana, await version_of(database, ana, troll))
    await blocks.block(ana.context, troll.opaque_id, expires_at=None)
    await blocks.unblock(ana.context, troll.opaque_id)
    await follows.follow(troll.context, ana.opaque_id)
    await handlers.handle(before)
    assert await told(database, ana) == []
    after = fact(database, EventType.FOLLOW_CREATED, troll, ana, await version_of(database, ana, troll))
    await handlers.handle(after)
    assert await told(database, ana) == [troll.id]


async def test_a_block_that_comes_while_a_follow_is_told_waits_and_withdraws_it(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, troll = await make_person(), await make_person()
    await follows.follow(troll.context, ana.opaque_id)
    event = fact(database, EventType.FOLLOW_CREATED, troll, ana, await version_of(database, ana, troll))
    write, decided, go_on = notifications._write, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any, **options: Any) -> None:
        decided.set()
        await go_on.wait()
        await write(*arguments, **options)

    with mock.patch.object(notifications, "_write", slowly):
        telling = asyncio.create_task(handlers.handle(event))
        await decided.wait()
        blocking = asyncio.create_task(blocks.block(ana.context, troll.opaque_id, expires_at=None))
        await asyncio.wait([blocking], timeout=0.5)
        go_on.set()
        await asyncio.gather(telling, blocking)
    assert (await told(database, ana), await counted(database, ana)) == ([], [])


async def test_a_person_is_in_a_group_once_however_often_the_same_is_told(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    for _ in range(3):
        new = NewNotification(ana.id, uuid.uuid4(), NotificationKind.FOLLOW, bo.id, now())
        assert await add_notification(database, new)
    assert await faces(ana) == [("FOLLOW", [bo.id], 1, 1)]


async def test_what_else_changes_a_pair_does_not_make_its_news_old(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    event = fact(database, EventType.FOLLOW_CREATED, bo, ana, await version_of(database, ana, bo))
    await follows.follow(ana.context, bo.opaque_id)
    await follows.unfollow(ana.context, bo.opaque_id)
    await handlers.handle(event)
    assert await told(database, ana) == [bo.id]


async def test_what_is_undone_is_withdrawn_and_an_event_fed_again_does_not_bring_it_back(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    event = await follow(database, handlers, bo, ana)
    await follows.unfollow(bo.context, ana.opaque_id)
    assert (await faces(ana), await unread(ana), await told(database, ana)) == ([], 0, [])
    again = await follow(database, handlers, bo, ana)
    await handlers.handle(event)
    await handlers.handle(again)
    assert await faces(ana) == [("FOLLOW", [bo.id], 1, 1)]


@pytest.mark.parametrize("state", [UserState.DELETED, UserState.SUSPENDED])
async def test_whoever_departs_is_in_no_group_count_or_page(
    database: Database, handlers: Handlers, make_person: MakePerson, state: UserState
) -> None:
    ana, gone, bo = await make_person(), await make_person(), await make_person()
    for fan in (bo, gone):
        await follow(database, handlers, fan, ana)
    await depart(database, gone.id, state, event=EventType.USER_DELETED)
    assert (await faces(ana), await unread(ana)) == ([("FOLLOW", [bo.id], 1, 1)], 1)
    assert await counted(database, ana) == []


async def test_whoever_is_gone_and_not_withdrawn_yet_is_dropped_by_the_gate(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, gone, bo = await make_person(), await make_person(), await make_person()
    for fan in (bo, gone):
        await follow(database, handlers, fan, ana)
    await change_user(
        database,
        gone.id,
        lambda user: structs.replace(user, state=UserState.DELETED),
        event=EventType.USER_DELETED,
    )
    assert await faces(ana) == [("FOLLOW", [bo.id], 1, 1)]
    [group] = await groups_of(ana)
    [page] = await notification_groups.fetch_member_pages(ana.context, [group], page_request(9, None, None, None))
    assert [node.actor.user.id for node in page.nodes] == [bo.id]


async def test_whom_a_block_hides_is_left_out_even_before_it_is_withdrawn(
    database: Database, make_person: MakePerson
) -> None:
    ana, troll, bo = await make_person(), await make_person(), await make_person()
    await blocks.block(troll.context, ana.opaque_id, expires_at=None)
    for actor in (bo, troll):
        new = NewNotification(ana.id, uuid.uuid4(), NotificationKind.FOLLOW, actor.id, now())
        assert await add_notification(database, new)
    new = NewNotification(ana.id, uuid.uuid4(), NotificationKind.FOLLOW_ACCEPTED, troll.id, now())
    assert await add_notification(database, new)
    assert (await faces(ana), await unread(ana)) == ([("FOLLOW", [bo.id], 1, 1)], 1)
    assert [group.count for group in await groups_of(ana, unread_only=True)] == [1]


async def test_marks_read_up_to_a_cursor_and_a_repeat_changes_nothing(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, fans = await make_person(), [await make_person() for _ in range(4)]
    for fan in fans:
        await follow(database, handlers, fan, ana)
    [group] = await groups_of(ana)
    [page] = await notification_groups.fetch_member_pages(ana.context, [group], page_request(9, None, None, None))
    second = page.nodes[2]
    for _ in range(2):
        marked = await notification_marks.mark_read(ana.context, up_to=second.cursor, ids=None)
        assert (marked.unread_count, [group.unread_count for group in marked.groups]) == (2, [2])
    [page] = await notification_groups.fetch_member_pages(ana.context, [group], page_request(9, None, None, None))
    assert [node.notification.read_at is None for node in page.nodes] == [True, True, False, False]
    assert await counted(database, ana) == []
    assert not await marks.read_up_to(database, ana.id, 2, now())


async def test_a_group_that_was_read_is_over_and_the_next_follow_begins_another(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, fans = await make_person(), [await make_person() for _ in range(3)]
    for fan in fans[:2]:
        await follow(database, handlers, fan, ana)
    await mark_all(ana)
    await follow(database, handlers, fans[2], ana)
    assert await faces(ana) == [("FOLLOW", [fans[2].id], 1, 1), ("FOLLOW", [fans[1].id, fans[0].id], 2, 0)]
    assert [group.unread_count for group in await groups_of(ana, unread_only=True)] == [1]


async def test_marks_read_notifications_and_groups_by_id(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, fans = await make_person(policy=PrivacyPolicy(is_private=True)), [await make_person() for _ in range(3)]
    for fan in fans:
        await follow(database, handlers, fan, ana)
    await follows.accept_request(ana.context, fans[0].opaque_id)
    await handlers.handle(fact(database, EventType.FOLLOW_CREATED, fans[0], ana, 2))
    requests, follow_group = await groups_of(ana)
    for _ in range(2):
        one = await notification_marks.mark_read(ana.context, up_to=None, ids=[requests.latest.id])
        assert (one.unread_count, [group.unread_count for group in one.groups]) == (2, [1])
    for _ in range(2):
        whole = await notification_marks.mark_read(ana.context, up_to=None, ids=[follow_group.id, requests.id])
        assert (whole.unread_count, len(whole.groups)) == (0, 2)
    assert await counted(database, ana) == []
    await follows.reject_request(ana.context, fans[1].opaque_id)
    assert await counted(database, ana) == []


async def test_ids_and_cursors_of_others_are_refused(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await follow(database, handlers, bo, ana)
    [group] = await groups_of(ana)
    for given in ({"ids": [group.id]}, {"ids": [group.latest.id]}, {"up_to": group.latest.cursor}, {}):
        with pytest.raises(InvalidInput):
            await notification_marks.mark_read(bo.context, **{"up_to": None, "ids": None, **given})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        await notification_marks.mark_read(ana.context, up_to=None, ids=[f"{n}" for n in range(101)])


async def test_a_hundred_thousand_are_read_in_a_bounded_number_of_statements_and_rows(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await flood(database, ana, 100_000)
    assert await add_notification(
        database, NewNotification(ana.id, uuid.uuid4(), NotificationKind.FOLLOW, bo.id, now())
    )
    assert [(group.count, group.unread_count) for group in await groups_of(ana)] == [(99_000, 99_000)]
    assert await unread(ana) == 100_000
    written = await written_rows(database, ana)
    await mark_all(ana)
    assert await unread(ana) == 0
    assert await written_rows(database, ana) == written
    assert await counted(database, ana) == []


async def written_rows(database: Database, owner: Person) -> list[tuple[object, ...]]:
    """Give the versions of rows that were not in place before: reading is to rewrite none."""
    rows = await database.shards.home(owner.id).fetch(
        "SELECT count(DISTINCT xmin::text), count(*) FILTER (WHERE read_at IS NOT NULL) FROM notifications "
        "WHERE owner_id = $1",
        owner.id,
    )
    return [tuple(row) for row in rows]


async def test_much_that_comes_after_a_mark_is_counted_up_to_a_bound(
    database: Database, make_person: MakePerson
) -> None:
    ana = await make_person()
    await flood(database, ana, 30)
    with mock.patch.object(marks, "COUNTED_UP_TO", 20):
        assert await marks.read_up_to(database, ana.id, 8, now())
        assert await unread(ana) == 22
        assert await marks.read_up_to(database, ana.id, 12, now())
    assert await unread(ana) == 18
    assert await counted(database, ana) == []


async def test_what_comes_while_a_group_is_marked_waits_and_is_unread(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, fans = await make_person(), [await make_person() for _ in range(2)]
    await follow(database, handlers, fans[0], ana)
    [group] = await groups_of(ana)
    lock, locked, go_on = marks._lock, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> object:
        head = await lock(*arguments)
        locked.set()
        await go_on.wait()
        return head

    with mock.patch.object(marks, "_lock", slowly):
        marking = asyncio.create_task(marks.read_these(database, ana.id, [], [group.key], now()))
        await locked.wait()
        telling = asyncio.create_task(follow(database, handlers, fans[1], ana))
        await asyncio.wait([telling], timeout=0.5)
        go_on.set()
        await asyncio.gather(marking, telling)
    assert (await unread(ana), await counted(database, ana)) == (1, [])


async def test_what_is_withdrawn_while_the_rest_of_its_group_is_counted_is_counted_out_once(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, fans = await make_person(), [await make_person() for _ in range(4)]
    for fan in fans:
        await follow(database, handlers, fan, ana)
    async with database.shards.home(ana.id).loans.pool.acquire() as connection:
        async with connection.transaction():
            await notifications.withdraw(connection, ana.id, fans[3].id, [NotificationKind.FOLLOW])
            marking = asyncio.create_task(marks.read_up_to(database, ana.id, 2, now()))
            await asyncio.wait([marking], timeout=0.5)
        await marking
    assert (await unread(ana), await counted(database, ana)) == (1, [])


async def test_marks_additions_and_withdrawals_at_once_leave_every_count_right(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, fans = await make_person(), [await make_person() for _ in range(12)]
    for fan in fans[:6]:
        await follow(database, handlers, fan, ana)

    async def leave(fan: Person) -> None:
        await follows.unfollow(fan.context, ana.opaque_id)

    async def read(sequence: int) -> None:
        await marks.read_up_to(database, ana.id, sequence, now())
        await marks.read_these(database, ana.id, [sequence + 1], [], now())

    for turn in range(4):
        await asyncio.gather(
            *(leave(fan) for fan in fans[turn:6:2]),
            *(follow(database, handlers, fan, ana) for fan in fans[6:]),
            *(read(sequence) for sequence in range(turn, 4 + 2 * turn)),
        )
        await asyncio.gather(*(leave(fan) for fan in fans[6:]), *(follow(database, handlers, f, ana) for f in fans[:6]))
    assert await counted(database, ana) == []


async def test_what_the_preferences_filter_is_kept_apart_and_what_they_drop_is_not_kept(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, known, stranger = await make_person(), await make_person(), await make_person()
    await follows.follow(ana.context, known.opaque_id)
    outcome = await notification_preferences.update_preferences(
        ana.context, {"strangers": NotificationTreatment.FILTER}, None
    )
    assert outcome.preferences is not None
    for fan in (known, stranger):
        await follow(database, handlers, fan, ana)
    assert (await faces(ana), await unread(ana)) == ([("FOLLOW", [known.id], 1, 1)], 1)
    assert await faces(ana, filtered=True) == [("FOLLOW", [stranger.id], 1, 1)]
    assert await told(database, ana) == [known.id]
    await notification_preferences.update_preferences(
        ana.context, {"strangers": NotificationTreatment.DROP, "followed": NotificationTreatment.DROP}, None
    )
    for fan in (known, stranger):
        await follows.unfollow(fan.context, ana.opaque_id)
        await follow(database, handlers, fan, ana)
    assert (await faces(ana), await faces(ana, filtered=True)) == ([], [])


async def test_new_accounts_are_treated_by_the_stricter_wish(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, new = await make_person(), await make_person()
    await notification_preferences.update_preferences(ana.context, {"new_accounts": NotificationTreatment.FILTER}, 1)
    with mock.patch("events.notifying.made_at", lambda user_id: now() - 2 * DAY if user_id != new.id else now()):
        await follow(database, handlers, new, ana)
        old = await make_person()
        await follow(database, handlers, old, ana)
    assert (await told(database, ana), await faces(ana, filtered=True)) == ([old.id], [("FOLLOW", [new.id], 1, 1)])


async def test_preferences_write_one_audit_row_for_each_change_and_none_for_a_repeat(
    database: Database, make_person: MakePerson
) -> None:
    ana = await make_person()
    for days in (3, 3, 9):
        outcome = await notification_preferences.update_preferences(ana.context, {}, days)
        assert outcome.preferences is not None
        assert outcome.preferences.new_account_days == days
    for days in (0, 366):
        refused = await notification_preferences.update_preferences(ana.context, {}, days)
        assert [error.path for error in refused.user_errors] == [("input", "newAccountDays")]
    rows = await database.shards.home(ana.id).fetch(
        "SELECT action, version FROM audit_logs WHERE actor_id = $1 ORDER BY id", ana.id
    )
    assert [tuple(row) for row in rows] == [
        ("notification_preferences.updated", 1),
        ("notification_preferences.updated", 2),
    ]


async def test_a_muted_actor_is_told_of_no_more(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await mutes.mute(ana.context, bo.opaque_id, expires_at=None)
    await follow(database, handlers, bo, ana)
    assert (await told(database, ana), await faces(ana, filtered=True)) == ([], [])


async def test_what_was_not_wanted_when_it_came_is_not_told_when_it_comes_again(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, bo, cy = [await make_person() for _ in range(3)]
    await mutes.mute(ana.context, bo.opaque_id, expires_at=None)
    muted = await follow(database, handlers, bo, ana)
    await notification_preferences.update_preferences(ana.context, {"strangers": NotificationTreatment.DROP}, None)
    unwanted = await follow(database, handlers, cy, ana)
    await mutes.unmute(ana.context, bo.opaque_id)
    await notification_preferences.update_preferences(ana.context, {"strangers": NotificationTreatment.ACCEPT}, None)
    for event in (muted, unwanted):
        await handlers.handle(event)
    assert await told(database, ana) == []
    await follows.unfollow(bo.context, ana.opaque_id)
    await follow(database, handlers, bo, ana)
    assert await told(database, ana) == [bo.id]


async def test_what_a_purged_person_did_not_want_leaves_no_row(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    cell, event_id = database.shards.home(ana.id), uuid.uuid4()
    new = NewNotification(ana.id, event_id, NotificationKind.FOLLOW, bo.id, now())
    await cell.fetch("DELETE FROM user_counts WHERE user_id = $1", ana.id)
    await add_notification(database, new, lambda _side: NotificationTreatment.DROP)
    assert await cell.fetch("SELECT FROM inbox WHERE owner_id = $1", ana.id) == []


@pytest.fixture
def statements() -> Iterator[list[str]]:
    seen: list[str] = []
    fetch = Cell._fetch

    async def counting(cell: Cell, statement: str, arguments: Sequence[object]) -> object:
        seen.append(" ".join(statement.split()))
        return await fetch(cell, statement, arguments)

    with mock.patch.object(Cell, "_fetch", counting):
        yield seen


async def test_a_page_of_groups_costs_the_same_statements_whatever_its_size(
    database: Database, handlers: Handlers, make_person: MakePerson, statements: list[str]
) -> None:
    ana, fans = await make_person(), [await make_person() for _ in range(8)]
    for fan in fans:
        await follow(database, handlers, fan, ana)
        await mark_all(ana)
    costs = []
    for size in (1, 8):
        context = ana.context
        viewer = await meet_one(context, ana.id)
        assert viewer is not None
        statements.clear()
        choice = Choice(ALL, unread_only=False, filtered=False)
        page = await notification_groups.fetch_page(context, viewer, choice, page_request(size, None, None, None))
        groups = [edge.group for edge in page.edges]
        await notification_groups.fetch_member_pages(context, groups, page_request(5, None, None, None))
        costs.append(sum("notification_groups" in statement for statement in statements))
        assert sum("FROM users u" in statement for statement in statements) <= len(database.shards.cells)
    assert costs == [3, 3]  # groups, faces, members


async def test_what_is_too_old_leaves_and_what_is_numbered_below_the_floor_is_known_to_be_gone(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, fans = await make_person(), [await make_person() for _ in range(3)]
    for fan in fans[:2]:
        await follow(database, handlers, fan, ana)
    assert await fetch_floor(database, ana.id) == 0
    later = now() + 100 * DAY
    assert await trim_notifications(database, ana.id, Retention(), later, limit=1) == 1
    assert await fetch_floor(database, ana.id) == 1
    assert (await told(database, ana), await counted(database, ana)) == ([fans[1].id], [])
    assert await trim_notifications(database, ana.id, Retention(), later, limit=9) == 1
    assert await fetch_floor(database, ana.id) == 2
    assert (await faces(ana), await unread(ana)) == ([], 0)
    await follow(database, handlers, fans[2], ana)
    assert (await told(database, ana), await fetch_floor(database, ana.id)) == ([fans[2].id], 2)


async def test_of_too_many_only_those_leave_that_cannot_be_fed_again(
    database: Database, make_person: MakePerson
) -> None:
    ana = await make_person()
    await flood(database, ana, 30)
    retention = Retention(kept=10)
    assert await trim_notifications(database, ana.id, retention, now(), limit=100) == 0
    assert await trim_notifications(database, ana.id, retention, now() + 4 * DAY, limit=100) == 20
    assert await fetch_floor(database, ana.id) == 20
    assert await unread(ana) == 10
    assert await counted(database, ana) == []


async def test_upkeep_lets_go_of_what_is_old_or_too_much(database: Database, make_person: MakePerson) -> None:
    ana, star = await make_person(), await make_person()
    await flood(database, ana, 5)
    await flood(database, star, 10_499)
    fan = await make_person()
    assert await add_notification(
        database, NewNotification(star.id, uuid.uuid4(), NotificationKind.FOLLOW, fan.id, now())
    )
    await age(database, ana, days=100)
    await age(database, star, days=5)
    for cell in database.shards.cells:
        await Upkeep(database, cell, Pace()).go_over()
    assert await fetch_floor(database, ana.id) == 5
    assert await fetch_floor(database, star.id) == 500


async def age(database: Database, owner: Person, *, days: int) -> None:
    cell = database.shards.home(owner.id)
    for statement in (
        "UPDATE notifications SET burst = burst - $2 WHERE owner_id = $1",
        "UPDATE notification_groups SET burst = burst - $2 WHERE owner_id = $1",
    ):
        await cell.loans.pool.execute(statement, owner.id, 86_400 * days)


async def test_what_is_delivered_is_what_the_group_shows(
    database: Database, handlers: Handlers, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await follow(database, handlers, bo, ana)
    [row] = await fetch_after(database, ana.id, 0, 9)
    context = ana.context
    actor = await meet_one(context, bo.id)
    assert actor is not None
    live, [group] = deliver(context, row, actor), await groups_of(ana)
    assert (live.id, live.cursor) == (group.latest.id, group.latest.cursor)
