"""Mutes: the owner's own side only, and nothing that the other could learn it from. On one cell and on two."""

import asyncio
import datetime as dt
import uuid

import msgspec
import pytest

from domain.errors import UserErrorCode
from domain.events import EventType, FollowPayload
from domain.ids import NodeType
from domain.notifications import NotificationKind
from domain.pages import PageRequest
from domain.policies import PrivacyPolicy
from domain.relationships import FollowState, ListKind, Relationship
from domain.transitions import follow
from events.handlers import Handlers
from events.records import ReceivedEvent
from resolvers import blocks, follows, mutes, own, people
from resolvers.lists import FollowerPage
from storage.database import Database
from storage.mutes import Mute, Unmute, change_mute
from storage.notifications import fetch_after
from storage.pairs import change_pair
from storage.redis_client import Redis
from storage.relationships import fetch_relationships
from tests.conftest import MakePerson, Person
from tests.integration.test_pairs import now, sides
from tests.integration.test_requests import Fact, audited, facts, upkeep

MUTED, UNMUTED = EventType.USER_MUTED, EventType.USER_UNMUTED


async def mute_list(owner: Person) -> FollowerPage:
    context = owner.context
    viewer = await people.fetch_viewer(context)
    assert viewer is not None
    return await own.fetch_own_page(context, viewer, ListKind.MUTED, PageRequest(50, None, backward=False))


async def test_a_mute_shows_on_the_owners_side_only_and_leaves_the_pairs_version(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    _, before = await sides(database, ana, bo)
    outcome = await mutes.mute(ana.context, bo.opaque_id, expires_at=None)
    assert outcome.user is not None
    assert outcome.user.viewer_has_muted
    ours, theirs = await sides(database, ana, bo)
    assert ours.mutes
    assert theirs == before
    assert ours.version == theirs.version == 1
    [seen] = await people.fetch_by_ids(bo.context, [ana.opaque_id])
    assert seen is not None
    assert not seen.viewer_has_muted


async def test_a_mute_of_a_stranger_makes_no_row_on_the_other_side(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    await mutes.mute(ana.context, bo.opaque_id, expires_at=None)
    assert (await sides(database, ana, bo))[0] == Relationship(mutes=True)
    assert await fetch_relationships(database, bo.id, [ana.id]) == {}


async def test_a_pair_goes_on_under_a_mute_and_keeps_it(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    await mutes.mute(ana.context, bo.opaque_id, expires_at=None)
    await follows.follow(ana.context, bo.opaque_id)
    await follows.follow(bo.context, ana.opaque_id)
    ours, theirs = await sides(database, ana, bo)
    assert ours.mutes
    assert ours.is_mutual
    assert theirs.is_mutual
    assert not theirs.mutes
    assert ours.version == theirs.version == 2


async def test_muting_and_unmuting_tell_one_fact_each_and_repeats_none(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    for _ in range(2):
        await mutes.mute(ana.context, bo.opaque_id, expires_at=None)
    for _ in range(2):
        await mutes.unmute(ana.context, bo.opaque_id)
    key = (ana.opaque_id, ana.opaque_id, bo.opaque_id, None)
    assert await facts(database, ana, bo) == [Fact(MUTED, *key), Fact(UNMUTED, *key)]
    assert await audited(database, ana) == [("user.muted", bo.id, 0), ("user.unmuted", bo.id, 0)]
    assert await audited(database, bo) == []


async def test_another_end_of_a_mute_is_a_change_and_the_same_is_none(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    until = now() + dt.timedelta(hours=1)
    for end in (None, until, until, None):
        await mutes.mute(ana.context, bo.opaque_id, expires_at=end)
    assert [fact.type for fact in await facts(database, ana, bo)] == [MUTED] * 3


async def test_a_mute_that_would_have_ended_already_is_refused(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    outcome = await mutes.mute(ana.context, bo.opaque_id, expires_at=now() - dt.timedelta(seconds=1))
    assert [error.code for error in outcome.user_errors] == [UserErrorCode.INVALID_VALUE]
    assert await facts(database, ana, bo) == []


async def test_a_mute_that_has_ended_is_lifted_by_upkeep_with_its_event_and_one_in_force_stays(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo, cy = await make_person(), await make_person(), await make_person()
    await change_mute(database, ana.id, bo.id, Mute(now() - dt.timedelta(seconds=1)))
    await change_mute(database, ana.id, cy.id, Mute(now() + dt.timedelta(hours=1)))
    [lapsed] = await people.fetch_by_ids(ana.context, [bo.opaque_id])
    assert lapsed is not None
    assert not lapsed.viewer_has_muted
    await upkeep(database)
    assert not (await sides(database, ana, bo))[0].mutes
    assert (await sides(database, ana, cy))[0].mutes
    assert [fact.type for fact in await facts(database, ana, bo)] == [MUTED, UNMUTED]
    await upkeep(database)
    assert len(await facts(database, ana, bo)) == 2


async def test_upkeep_leaves_a_mute_that_was_renewed_meanwhile(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    await change_mute(database, ana.id, bo.id, Mute(now() + dt.timedelta(hours=1)))
    assert not await change_mute(database, ana.id, bo.id, Unmute(ended_by=now()))
    await change_mute(database, ana.id, bo.id, Mute(None))
    assert not await change_mute(database, ana.id, bo.id, Unmute(ended_by=now()))
    assert (await sides(database, ana, bo))[0].mutes


def follow_event(
    database: Database, event_type: EventType, follower: Person, followee: Person, *, pair_version: int = 1
) -> ReceivedEvent:
    payload = FollowPayload(
        follower_id=database.ids.encode(NodeType.USER, follower.id),
        followee_id=database.ids.encode(NodeType.USER, followee.id),
        pair_version=pair_version,
    )
    return ReceivedEvent(id=uuid.uuid4(), type=event_type, time=now(), key=follower.opaque_id, payload=payload)


@pytest.mark.parametrize(
    ("kind", "private"), [(EventType.FOLLOW_CREATED, False), (EventType.FOLLOW_REQUESTED, True)], ids=["follow", "ask"]
)
async def test_what_a_muted_person_does_is_not_told_and_what_others_do_is(
    database: Database, redis: Redis, make_person: MakePerson, kind: EventType, *, private: bool
) -> None:
    ana = await make_person(policy=PrivacyPolicy(is_private=private))
    bo, cy, dee = await make_person(), await make_person(), await make_person()
    await mutes.mute(ana.context, bo.opaque_id, expires_at=None)
    await change_mute(database, ana.id, dee.id, Mute(now() - dt.timedelta(seconds=1)))
    handlers = Handlers(database, redis)
    for fan in (bo, cy, dee):
        await follows.follow(fan.context, ana.opaque_id)
        await handlers.handle(follow_event(database, kind, fan, ana))
    assert [row.actor_id for row in await fetch_after(database, ana.id, 0, 10)] == [cy.id, dee.id]


async def test_an_acceptance_by_somebody_muted_is_not_told_and_the_muted_person_is_told_as_ever(
    database: Database, redis: Redis, make_person: MakePerson
) -> None:
    ana, bo = await make_person(policy=PrivacyPolicy(is_private=True)), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    await mutes.mute(bo.context, ana.opaque_id, expires_at=None)
    await follows.accept_request(ana.context, bo.opaque_id)
    await follows.follow(ana.context, bo.opaque_id)
    handlers = Handlers(database, redis)
    await handlers.handle(follow_event(database, EventType.FOLLOW_ACCEPTED, bo, ana, pair_version=2))
    await handlers.handle(follow_event(database, EventType.FOLLOW_CREATED, ana, bo, pair_version=3))
    await handlers.handle(follow_event(database, EventType.FOLLOW_CREATED, bo, ana, pair_version=2))
    assert await fetch_after(database, bo.id, 0, 10) == []
    assert [row.kind for row in await fetch_after(database, ana.id, 0, 10)] == [NotificationKind.FOLLOW]


async def test_whoever_is_blocked_by_the_other_cannot_mute_or_unmute_and_hears_what_a_stranger_id_gives(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await mutes.mute(ana.context, bo.opaque_id, expires_at=None)
    await blocks.block(bo.context, ana.opaque_id, expires_at=None)
    for answer, unknown in (
        (
            await mutes.mute(ana.context, bo.opaque_id, expires_at=None),
            await mutes.mute(ana.context, "A" * 22, expires_at=None),
        ),
        (await mutes.unmute(ana.context, bo.opaque_id), await mutes.unmute(ana.context, "A" * 22)),
    ):
        assert answer == unknown
        assert answer.user_errors[0].code is UserErrorCode.USER_UNAVAILABLE
    assert (await mute_list(ana)).edges == []
    assert (await sides(database, ana, bo))[0].mutes


async def test_nobody_mutes_himself(make_person: MakePerson) -> None:
    ana = await make_person()
    outcome = await mutes.mute(ana.context, ana.opaque_id, expires_at=None)
    assert outcome.user_errors[0].code is UserErrorCode.CANNOT_TARGET_SELF


async def test_the_list_of_mutes_does_not_tell_that_the_other_blocked_and_unblocked(make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    await mutes.mute(ana.context, bo.opaque_id, expires_at=None)
    before = [(edge.followed_at, edge.node.user.id) for edge in (await mute_list(ana)).edges]
    await blocks.block(bo.context, ana.opaque_id, expires_at=None)
    await blocks.unblock(bo.context, ana.opaque_id)
    assert [(edge.followed_at, edge.node.user.id) for edge in (await mute_list(ana)).edges] == before


async def test_a_mute_that_has_ended_is_not_listed(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    await change_mute(database, ana.id, bo.id, Mute(now() - dt.timedelta(seconds=1)))
    assert (await mute_list(ana)).edges == []


async def test_a_mute_beside_a_change_of_the_pair_is_not_lost(database: Database, make_person: MakePerson) -> None:
    for _ in range(10):
        ana, bo = await make_person(), await make_person()
        await asyncio.gather(
            change_mute(database, ana.id, bo.id, Mute(None)),
            change_pair(database, bo.id, ana.id, follow(target_is_private=False), now()),
            change_mute(database, bo.id, ana.id, Mute(None)),
        )
        ours, theirs = await sides(database, ana, bo)
        assert ours.mutes
        assert theirs.mutes
        assert ours.followed_by is theirs.follows is FollowState.ACTIVE
        assert msgspec.structs.replace(ours, mutes=False) == theirs.mirrored()
