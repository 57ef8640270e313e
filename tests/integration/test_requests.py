"""Requests to follow: asking, answering, going public, waiting too long; and what each writes. One cell and two."""

import dataclasses
import datetime as dt
import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from domain.errors import UserErrorCode
from domain.events import EventType
from domain.policies import PrivacyPolicy
from domain.relationships import FollowState, WaitingRequests
from domain.transitions import block, expire, follow
from events.upkeep import Pace, Upkeep
from resolvers import blocks, follows
from resolvers.context import Context
from resolvers.outcomes import Outcome
from resolvers.people import fetch_counts
from resolvers.policies import PrivacyEdit, update_privacy
from storage.cells import Connection
from storage.database import Database
from storage.pairs import change_pair
from storage.relationships import fetch_relationships
from tests.conftest import MakePerson, Person
from tests.integration.test_pairs import counts, now, sides

PRIVATE = PrivacyPolicy(is_private=True)
REQUESTED, ACCEPTED = EventType.FOLLOW_REQUESTED, EventType.FOLLOW_ACCEPTED
REJECTED, CREATED, REMOVED = EventType.FOLLOW_REJECTED, EventType.FOLLOW_CREATED, EventType.FOLLOW_REMOVED
NONE, PENDING, ACTIVE = FollowState.NONE, FollowState.PENDING, FollowState.ACTIVE

Act = Callable[[Context, str], Awaitable[Outcome]]


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """One row of the outbox about two people: who acted, and the two in the payload's order."""

    type: EventType
    actor: str
    one: str
    other: str
    version: int | None
    was_pending: bool = False


async def facts(database: Database, *people: Person) -> list[Fact]:
    """Read what the outboxes of all cells tell of two people, in the order of commit; the rest is left out."""
    keys = [person.opaque_id for person in people]
    rows = [
        row
        for cell in database.shards.cells
        for row in await cell.fetch(
            "SELECT type, aggregateid, payload::text AS payload FROM outbox "
            "WHERE aggregateid = ANY($1::text[]) AND aggregatetype = 'social' ORDER BY created_at, sequence",
            keys,
        )
    ]
    read = [_fact(EventType(row["type"]), row["aggregateid"], json.loads(row["payload"])) for row in rows]
    return [fact for fact in read if {fact.one, fact.other} <= set(keys)]


def _fact(event_type: EventType, actor: str, payload: dict[str, Any]) -> Fact:
    one = payload.get("followerId") or payload.get("blockerId") or payload["muterId"]
    other = payload.get("followeeId") or payload.get("blockedId") or payload["mutedId"]
    return Fact(event_type, actor, one, other, payload.get("pairVersion"), payload.get("wasPending", False))


async def audited(database: Database, actor: Person) -> list[tuple[str, int | None, int]]:
    """Read what the audit log says that a person did."""
    return [
        (row["action"], row["target_id"], row["version"])
        for cell in database.shards.cells
        for row in await cell.fetch(
            "SELECT action, target_id, version FROM audit_logs WHERE actor_id = $1 ORDER BY id", actor.id
        )
    ]


async def states(database: Database, one: Person, other: Person) -> tuple[FollowState, FollowState]:
    """Give how far `one` follows and is followed, once both sides were seen to agree."""
    ours, theirs = await sides(database, one, other)
    assert ours == theirs.mirrored()
    return ours.follows, ours.followed_by


async def set_private(person: Person, *, private: bool, waiting: WaitingRequests = WaitingRequests.ACCEPT) -> None:
    edit = PrivacyEdit(is_private=private, waiting_requests=waiting)
    outcome = await update_privacy(person.context, edit)
    assert outcome.user_errors == ()


async def upkeep(database: Database, pace: Pace | None = None) -> None:
    """Go over every cell once, as the upkeep job does."""
    for cell in database.shards.cells:
        await Upkeep(database, cell, pace or Pace()).go_over()


async def test_asking_a_private_account_waits_and_counts_nothing(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(policy=PRIVATE), await make_person()
    outcome = await follows.follow(bo.context, ana.opaque_id)
    assert outcome.user is not None
    assert outcome.user.relationship.follows is PENDING
    assert await states(database, bo, ana) == (PENDING, NONE)
    assert await counts(database, ana) == await counts(database, bo) == (0, 0)
    assert await facts(database, ana, bo) == [Fact(REQUESTED, bo.opaque_id, bo.opaque_id, ana.opaque_id, 1)]
    assert await audited(database, bo) == [("follow.requested", ana.id, 1)]


async def test_accepting_makes_the_follow_and_tells_both_facts(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(policy=PRIVATE), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    outcome = await follows.accept_request(ana.context, bo.opaque_id)
    assert outcome.user_errors == ()
    assert await states(database, bo, ana) == (ACTIVE, NONE)
    assert await counts(database, ana) == (1, 0)
    assert await counts(database, bo) == (0, 1)
    assert await facts(database, ana, bo) == [
        Fact(REQUESTED, bo.opaque_id, bo.opaque_id, ana.opaque_id, 1),
        Fact(ACCEPTED, ana.opaque_id, bo.opaque_id, ana.opaque_id, 2),
        Fact(CREATED, ana.opaque_id, bo.opaque_id, ana.opaque_id, 2),
    ]
    assert await audited(database, ana) == [("follow.accepted", bo.id, 2)]


async def test_rejecting_clears_the_request_and_a_new_one_may_be_made(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(policy=PRIVATE), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    await follows.reject_request(ana.context, bo.opaque_id)
    assert await states(database, bo, ana) == (NONE, NONE)
    assert (await facts(database, ana, bo))[-1] == Fact(
        REJECTED, ana.opaque_id, bo.opaque_id, ana.opaque_id, 2, was_pending=True
    )
    await follows.follow(bo.context, ana.opaque_id)
    assert await states(database, bo, ana) == (PENDING, NONE)
    assert await counts(database, ana) == await counts(database, bo) == (0, 0)


async def test_cancelling_withdraws_a_request_and_leaves_a_follow(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(policy=PRIVATE), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    await follows.cancel_request(bo.context, ana.opaque_id)
    assert await states(database, bo, ana) == (NONE, NONE)
    assert (await facts(database, ana, bo))[-1] == Fact(
        REMOVED, bo.opaque_id, bo.opaque_id, ana.opaque_id, 2, was_pending=True
    )
    await follows.follow(bo.context, ana.opaque_id)
    await follows.accept_request(ana.context, bo.opaque_id)
    await follows.cancel_request(bo.context, ana.opaque_id)
    assert await states(database, bo, ana) == (ACTIVE, NONE)


@pytest.mark.parametrize(
    ("act", "by_owner"),
    [
        (follows.follow, False),
        (follows.unfollow, False),
        (follows.cancel_request, False),
        (follows.accept_request, True),
        (follows.reject_request, True),
        (follows.remove_follower, True),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_whatever_is_repeated_writes_nothing_more(
    database: Database, make_person: MakePerson, act: Act, *, by_owner: bool
) -> None:
    ana, bo = await make_person(policy=PRIVATE), await make_person()
    actor, target = (ana, bo) if by_owner else (bo, ana)
    if act is not follows.follow:
        await follows.follow(bo.context, ana.opaque_id)
    first = await act(actor.context, target.opaque_id)
    written = await facts(database, ana, bo), await audited(database, ana), await audited(database, bo)
    pair = await sides(database, ana, bo)
    again = await act(actor.context, target.opaque_id)
    assert again.user_errors == first.user_errors == ()
    assert (await facts(database, ana, bo), await audited(database, ana), await audited(database, bo)) == written
    assert await sides(database, ana, bo) == pair


async def test_accepting_what_was_not_asked_says_so_and_writes_nothing(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(policy=PRIVATE), await make_person()
    outcome = await follows.accept_request(ana.context, bo.opaque_id)
    assert [(error.code, error.path) for error in outcome.user_errors] == [
        (UserErrorCode.REQUEST_NOT_FOUND, ("input", "userId"))
    ]
    await follows.follow(bo.context, ana.opaque_id)
    await follows.cancel_request(bo.context, ana.opaque_id)
    withdrawn = await follows.accept_request(ana.context, bo.opaque_id)
    assert withdrawn.user_errors == outcome.user_errors
    assert await audited(database, ana) == []


@pytest.mark.parametrize("act", [follows.accept_request, follows.reject_request, follows.remove_follower])
async def test_whoever_asked_and_then_blocked_is_unavailable_and_stays_unfollowed(
    database: Database, make_person: MakePerson, act: Act
) -> None:
    ana, bo = await make_person(policy=PRIVATE), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    await blocks.block(bo.context, ana.opaque_id, expires_at=None)
    outcome = await act(ana.context, bo.opaque_id)
    unknown = await act(ana.context, "A" * 22)
    assert outcome == unknown
    assert outcome.user_errors[0].code is UserErrorCode.USER_UNAVAILABLE
    assert await states(database, bo, ana) == (NONE, NONE)


async def test_removing_a_follower_ends_the_follow_and_the_counters(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    await follows.follow(ana.context, bo.opaque_id)
    await follows.remove_follower(ana.context, bo.opaque_id)
    assert await states(database, ana, bo) == (ACTIVE, NONE)
    assert await counts(database, ana) == (0, 1)
    assert await counts(database, bo) == (1, 0)
    assert (await facts(database, ana, bo))[-1] == Fact(REMOVED, ana.opaque_id, bo.opaque_id, ana.opaque_id, 3)


@pytest.mark.parametrize("choice", list(WaitingRequests), ids=lambda choice: choice.value)
async def test_going_public_settles_the_first_at_once_and_upkeep_the_rest(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch, choice: WaitingRequests
) -> None:
    monkeypatch.setattr("resolvers.policies.SETTLED_AT_ONCE", 3)
    monkeypatch.setattr("events.upkeep.BATCH", 4)
    star = await make_person(policy=PRIVATE)
    crowd = [await make_person() for _ in range(9)]
    for fan in crowd:
        await follows.follow(fan.context, star.opaque_id)
    await set_private(star, private=False, waiting=choice)
    settled = ACTIVE if choice is WaitingRequests.ACCEPT else NONE
    found = [await states(database, fan, star) for fan in crowd]
    assert found == [(settled, NONE)] * 3 + [(PENDING, NONE)] * 6
    for _ in range(3):
        await upkeep(database)
    assert [await states(database, fan, star) for fan in crowd] == [(settled, NONE)] * 9
    assert await counts(database, star) == (9 if choice is WaitingRequests.ACCEPT else 0, 0)
    assert await decision_of(database, star) == [choice is WaitingRequests.ACCEPT]
    await pass_a_minute(database, star)
    await upkeep(database)
    assert await decision_of(database, star) == []
    event = CREATED if choice is WaitingRequests.ACCEPT else REJECTED
    for fan in crowd:
        assert [fact.type for fact in await facts(database, star, fan)].count(event) == 1


async def pass_a_minute(database: Database, owner: Person) -> None:
    await database.shards.home(owner.id).fetch(
        "UPDATE request_resolutions SET decided_at = decided_at - interval '61 seconds' WHERE owner_id = $1", owner.id
    )


async def decision_of(database: Database, owner: Person) -> list[bool]:
    rows = await database.shards.home(owner.id).fetch(
        "SELECT accept FROM request_resolutions WHERE owner_id = $1", owner.id
    )
    return [row["accept"] for row in rows]


async def test_more_than_fifty_who_wait_are_settled_fifty_at_once(database: Database, make_person: MakePerson) -> None:
    if len(database.shards.cells) > 1:
        pytest.skip("one cell shows it")
    star = await make_person(policy=PRIVATE)
    crowd = [await make_person() for _ in range(53)]
    for fan in crowd:
        await change_pair(database, fan.id, star.id, follow(target_is_private=True), now())
    await set_private(star, private=False, waiting=WaitingRequests.ACCEPT)
    assert await counts(database, star) == (50, 0)
    assert await decision_of(database, star) == [True]
    await upkeep(database)
    assert await counts(database, star) == (53, 0)


async def test_a_request_that_comes_late_to_an_account_gone_public_is_settled_as_the_others_were(
    database: Database, make_person: MakePerson
) -> None:
    star, late = await make_person(policy=PRIVATE), await make_person()
    await set_private(star, private=False)
    await change_pair(database, late.id, star.id, follow(target_is_private=True), now())
    await upkeep(database)
    assert await states(database, late, star) == (ACTIVE, NONE)


async def test_going_private_again_forgets_the_decision(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolvers.policies.SETTLED_AT_ONCE", 1)
    star = await make_person(policy=PRIVATE)
    crowd = [await make_person() for _ in range(3)]
    for fan in crowd:
        await follows.follow(fan.context, star.opaque_id)
    await set_private(star, private=False)
    assert await decision_of(database, star) == [True]
    await set_private(star, private=True)
    assert await decision_of(database, star) == []
    await upkeep(database)
    assert [await states(database, fan, star) for fan in crowd] == [(ACTIVE, NONE), (PENDING, NONE), (PENDING, NONE)]


async def test_a_request_that_waited_too_long_is_cleared_with_its_event_and_a_fresh_one_stays(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo, cy = await make_person(policy=PRIVATE), await make_person(), await make_person()
    ask = follow(target_is_private=True)
    await change_pair(database, bo.id, ana.id, ask, now() - dt.timedelta(days=30, minutes=1))
    await change_pair(database, cy.id, ana.id, ask, now() - dt.timedelta(days=29, hours=23))
    await upkeep(database)
    assert await states(database, bo, ana) == (NONE, NONE)
    assert await states(database, cy, ana) == (PENDING, NONE)
    assert (await facts(database, ana, bo))[-1] == Fact(
        REMOVED, bo.opaque_id, bo.opaque_id, ana.opaque_id, 2, was_pending=True
    )
    written = await facts(database, ana, bo)
    await upkeep(database)
    assert await facts(database, ana, bo) == written


async def test_what_time_ended_is_nobodys_deed_in_the_audit_log(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    await lapsed_block(database, ana, bo)
    await upkeep(database)
    assert await audited(database, ana) == [("user.blocked", bo.id, 1), ("lapsed", bo.id, 2)]


async def test_an_expiry_decided_too_early_or_for_a_follow_in_force_changes_nothing(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    long_ago = now() - dt.timedelta(days=400)
    await change_pair(database, bo.id, ana.id, follow(target_is_private=False), long_ago)
    change = await change_pair(database, bo.id, ana.id, expire(requests_before=now()), now())
    assert change is not None
    assert change.events == ()
    assert await states(database, bo, ana) == (ACTIVE, NONE)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_logs SET action = 'nothing' WHERE actor_id = $1",
        "DELETE FROM audit_logs WHERE actor_id = $1",
        "TRUNCATE audit_logs",
    ],
)
async def test_the_audit_log_can_only_be_added_to(database: Database, make_person: MakePerson, statement: str) -> None:
    ana, bo = await make_person(), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    before = await audited(database, bo)

    async def tamper(connection: Connection) -> None:
        await connection.execute(statement, *([bo.id] if "$1" in statement else []))

    cell = database.shards.home(min(ana.id, bo.id))
    with pytest.raises(asyncpg.RaiseError, match="append-only"):
        await cell.transact(tamper)
    assert await audited(database, bo) == before == [("follow.created", ana.id, 1)]


async def test_a_follow_of_a_public_account_tells_one_fact_and_a_refused_one_none(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    assert await facts(database, ana, bo) == [Fact(CREATED, bo.opaque_id, bo.opaque_id, ana.opaque_id, 1)]
    cy = await make_person()
    await blocks.block(ana.context, cy.opaque_id, expires_at=None)
    written = await facts(database, ana, cy)
    refused = await follows.follow(cy.context, ana.opaque_id)
    assert refused.user_errors[0].code is UserErrorCode.USER_UNAVAILABLE
    assert await facts(database, ana, cy) == written
    assert await audited(database, cy) == []


async def test_a_block_cuts_follow_and_request_and_tells_of_each(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(policy=PRIVATE), await make_person()
    await follows.follow(bo.context, ana.opaque_id)
    await follows.follow(ana.context, bo.opaque_id)
    await blocks.block(ana.context, bo.opaque_id, expires_at=None)
    assert (await facts(database, ana, bo))[2:] == [
        Fact(EventType.USER_BLOCKED, ana.opaque_id, ana.opaque_id, bo.opaque_id, 3),
        Fact(REMOVED, ana.opaque_id, ana.opaque_id, bo.opaque_id, 3),
        Fact(REMOVED, ana.opaque_id, bo.opaque_id, ana.opaque_id, 3, was_pending=True),
    ]
    await blocks.unblock(ana.context, bo.opaque_id)
    assert await states(database, ana, bo) == (NONE, NONE)
    assert await counts(database, ana) == await counts(database, bo) == (0, 0)


async def test_a_block_that_has_ended_is_lifted_by_upkeep_with_its_event(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await lapsed_block(database, ana, bo)
    await upkeep(database)
    ours, theirs = await sides(database, ana, bo)
    assert (ours.blocks, theirs.blocked_by, ours.version) == (False, False, 2)
    assert ours == theirs.mirrored()
    assert await facts(database, ana, bo) == [
        Fact(EventType.USER_BLOCKED, ana.opaque_id, ana.opaque_id, bo.opaque_id, 1),
        Fact(EventType.USER_UNBLOCKED, ana.opaque_id, ana.opaque_id, bo.opaque_id, 2),
    ]


async def lapsed_block(database: Database, one: Person, other: Person) -> None:
    ended = now() - dt.timedelta(seconds=1)
    await change_pair(database, one.id, other.id, block(until=ended), ended - dt.timedelta(hours=1))


@pytest.mark.parametrize("by_blocked", [True, False], ids=["the blocked acts", "the blocker acts"])
async def test_a_block_that_has_ended_is_lifted_by_the_next_action(
    database: Database, make_person: MakePerson, *, by_blocked: bool
) -> None:
    ana, bo = await make_person(), await make_person()
    await lapsed_block(database, ana, bo)
    actor, target = (bo, ana) if by_blocked else (ana, bo)
    outcome = await follows.follow(actor.context, target.opaque_id)
    assert outcome.user_errors == ()
    assert await states(database, actor, target) == (ACTIVE, NONE)
    assert (await facts(database, ana, bo))[1:] == [
        Fact(EventType.USER_UNBLOCKED, actor.opaque_id, ana.opaque_id, bo.opaque_id, 2),
        Fact(CREATED, actor.opaque_id, actor.opaque_id, target.opaque_id, 2),
    ]
    found = await fetch_relationships(database, ana.id, [bo.id])
    assert not found[bo.id].blocks


async def test_the_audit_row_names_what_the_person_did_not_the_lapse(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await lapsed_block(database, ana, bo)
    await follows.follow(bo.context, ana.opaque_id)
    assert await audited(database, bo) == [("follow.created", ana.id, 2)]


async def test_going_public_answers_with_those_whom_it_let_in(make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person(policy=PRIVATE)
    await follows.follow(ana.context, bo.opaque_id)
    context = bo.context
    edit = PrivacyEdit(is_private=False)
    outcome = await update_privacy(context, edit)
    assert outcome.user is not None
    [figures] = await fetch_counts(context, [outcome.user])
    assert figures is not None
    assert figures.followers == 1
