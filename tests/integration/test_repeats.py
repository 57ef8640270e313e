"""Mutations that are sent again: one effect and one answer, whoever dies or asks beside it, through every door."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import functools
import json
import secrets
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from domain.errors import Overloaded
from domain.repeats import KEPT, Effects, Repeatable, RepeatKeys, recording
from domain.revocations import Revocation, RevocationKind
from resolvers import follows, notification_preferences, settings
from resolvers.repeats import MAX_ANSWER_BYTES, KeyReused, Repeats, Response, StillRunning
from resolvers.settings import ProfileEdit
from storage.database import Database
from storage.erasures import STORES
from storage.repeats import claim, forget_expired
from storage.revocations import revoke
from tests.conftest import KEY, MakePerson, Person
from tests.integration.test_sockets import Serve, Served, serve
from transport.lines import Caps

__all__ = ["serve"]
ROOT: Final = Path(__file__).resolve().parents[2]
KEYS: Final = RepeatKeys(KEY)
NOW: Final = dt.datetime.now(dt.UTC)
ASKED: Final = b"what is asked"
LET_GO: Final = "UPDATE repeats SET runs_until = $2 WHERE user_id = $1"
"""What time does to a run whose process is no more."""


class Counted:
    """Something to run, counted."""

    def __init__(self, *responses: Response) -> None:
        self._responses = list(responses) or [{"data": {"number": 1}}]
        self.times = 0

    async def __call__(self) -> Response:
        self.times += 1
        return self._responses[min(self.times, len(self._responses)) - 1]


def name() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def repeats(database: Database) -> Repeats:
    return Repeats(database, KEYS)


async def test_a_repeat_is_answered_alike_and_not_run(repeats: Repeats, make_person: MakePerson) -> None:
    ana, bo, key, run = await make_person(), await make_person(), name(), Counted({"data": {"é": [1, None, "x"]}})
    answers = [await repeats.once(ana.id, key, ASKED, run) for _ in range(3)]
    assert answers == [{"data": {"é": [1, None, "x"]}}] * 3
    assert run.times == 1
    await repeats.once(bo.id, key, ASKED, run)
    await repeats.once(ana.id, name(), ASKED, run)
    assert run.times == 3


async def test_a_key_belongs_to_one_request(repeats: Repeats, make_person: MakePerson) -> None:
    ana, key, run = await make_person(), name(), Counted()
    await repeats.once(ana.id, key, ASKED, run)
    with pytest.raises(KeyReused):
        await repeats.once(ana.id, key, b"something else", run)
    assert run.times == 1


async def test_of_requests_at_once_one_runs_and_the_others_are_told_to_wait(
    repeats: Repeats, make_person: MakePerson
) -> None:
    ana, key, go_on, times = await make_person(), name(), asyncio.Event(), 0

    async def run() -> Response:
        nonlocal times
        times += 1
        await go_on.wait()
        return {"data": {}}

    waiting = {asyncio.create_task(repeats.once(ana.id, key, ASKED, run)) for _ in range(4)}
    while len(waiting) > 1:
        refused, waiting = await asyncio.wait(waiting, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert refused
        for outcome in refused:
            with pytest.raises(StillRunning) as told:
                await outcome
            assert 1 <= told.value.extensions["retryAfter"] <= 15  # type: ignore[operator] # it is a number
    go_on.set()
    assert await waiting.pop() == {"data": {}}
    assert times == 1


@pytest.mark.parametrize("code", ["OVERLOADED", "DEADLINE_EXCEEDED", "RATE_LIMITED", "STEP_UP_REQUIRED"])
async def test_an_answer_that_asks_to_try_again_is_not_the_last_word(
    repeats: Repeats, make_person: MakePerson, code: str
) -> None:
    ana, key = await make_person(), name()
    run = Counted({"errors": [{"extensions": {"code": code}}], "data": None}, {"data": {}})
    answers = [await repeats.once(ana.id, key, ASKED, run) for _ in range(3)]
    assert ["errors" in answer for answer in answers] == [True, False, False]
    assert run.times == 2


async def test_what_fails_may_be_sent_again_at_once(repeats: Repeats, make_person: MakePerson) -> None:
    ana, key, run = await make_person(), name(), Counted()

    async def fail() -> Response:
        raise Overloaded

    with pytest.raises(Overloaded):
        await repeats.once(ana.id, key, ASKED, fail)
    assert await repeats.once(ana.id, key, ASKED, run) == {"data": {"number": 1}}


async def test_what_is_too_long_to_be_kept_is_made_anew(repeats: Repeats, make_person: MakePerson) -> None:
    ana, key, run = await make_person(), name(), Counted({"data": {"bio": "x" * MAX_ANSWER_BYTES}})
    for _ in range(2):
        await repeats.once(ana.id, key, ASKED, run)
    assert run.times == 2


async def rows_of(database: Database, person: Person) -> list[Any]:
    tables = ("SELECT * FROM repeats WHERE user_id = $1", "SELECT * FROM repeat_effects WHERE user_id = $1")
    return [row for cell in database.shards.cells for table in tables for row in await cell.fetch(table, person.id)]


async def test_no_name_and_no_answer_can_be_read_in_the_cell(
    repeats: Repeats, database: Database, make_person: MakePerson
) -> None:
    ana, key = await make_person(), name()
    await repeats.once(ana.id, key, ASKED, Counted({"data": {"email": "ana@example.org"}}))
    [row] = await rows_of(database, ana)
    kept = b" ".join(bytes(value) for value in row.values() if isinstance(value, bytes))
    assert not [secret for secret in (key.encode(), b"ana@", b"email", ASKED) if secret in kept]
    for other in (KEYS.of(ana.id, name(), ASKED), KEYS.of(ana.id, key, b"else"), KEYS.of(ana.id + 1, key, ASKED)):
        assert other.open(row["answer"]) is None
    assert KEYS.of(ana.id, key, ASKED).open(row["answer"]) == b'{"data":{"email":"ana@example.org"}}'


async def interrupted(person: Person, key: str, work: Callable[[], Awaitable[Any]]) -> Repeatable:
    """Do what a process does that dies between the effect and the answer, and let the time of its run be over."""
    named, database = KEYS.of(person.id, key, ASKED), person.backend.database
    claimed = await claim(database, named, uuid.uuid4(), dt.datetime.now(dt.UTC))
    assert claimed is not None
    effects = Effects(named, claimed.expires_at)
    effects.begin_field()
    with recording(effects):
        await work()
    with pytest.raises(StillRunning):
        await Repeats(database, KEYS).once(person.id, key, ASKED, Counted())
    await database.shards.home(person.id).fetch(LET_GO, person.id, dt.datetime.now(dt.UTC))
    return named


async def repeated(person: Person, key: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """Send it again, as the doors do."""
    from domain.repeats import current_effects  # noqa: PLC0415 - what the schema does for each field

    outcomes = []

    async def run() -> Response:
        effects = current_effects()
        assert effects is not None
        effects.begin_field()
        outcomes.append(await work())
        return {"data": {}}

    await Repeats(person.backend.database, KEYS).once(person.id, key, ASKED, run)
    [outcome] = outcomes
    return outcome


async def test_a_follow_whose_answer_got_lost_is_not_done_again_after_it_was_taken_back(
    make_person: MakePerson,
) -> None:
    one, other = await make_person(), await make_person()
    for ana, bo in ((one, other), (other, one)):  # the deciding cell is one's own, and the other's
        key, follow = name(), functools.partial(follow_as, ana, bo)
        await interrupted(ana, key, follow)
        await follows.unfollow(ana.context, bo.opaque_id)
        outcome = await repeated(ana, key, follow)
        assert outcome.user_errors == ()
        assert outcome.user.relationship.follows.name == "NONE"


async def follow_as(ana: Person, bo: Person) -> Any:
    return await follows.follow(ana.context, bo.opaque_id)


async def test_an_edit_whose_answer_got_lost_is_answered_and_not_called_a_conflict(make_person: MakePerson) -> None:
    ana, key = await make_person(), name()
    version = (await settings.update_profile(ana.context, ProfileEdit({"bio": "one"}, None, None))).user.user.version  # type: ignore[union-attr]
    edit = ProfileEdit({"bio": "two"}, None, version)
    await interrupted(ana, key, lambda: settings.update_profile(ana.context, edit))
    await settings.update_profile(ana.context, ProfileEdit({"bio": "three"}, None, None))
    outcome = await repeated(ana, key, lambda: settings.update_profile(ana.context, edit))
    assert outcome.user.user.bio == "three"


async def test_an_effect_that_did_not_come_about_does_when_it_is_sent_again(make_person: MakePerson) -> None:
    ana, bo, key = await make_person(), await make_person(), name()

    async def nothing() -> None:
        """Die before the effect."""

    await interrupted(ana, key, nothing)
    outcome = await repeated(ana, key, lambda: follows.follow(ana.context, bo.opaque_id))
    assert outcome.user.relationship.follows.name == "ACTIVE"


async def test_each_field_of_a_request_has_its_effect(make_person: MakePerson) -> None:
    ana, bo, cy, key = await make_person(), await make_person(), await make_person(), name()
    named = await interrupted(ana, key, lambda: follows.follow(ana.context, bo.opaque_id))
    effects = Effects(named, NOW + KEPT)
    with recording(effects):
        for other in (bo, cy, cy):
            effects.begin_field()
            outcome = await follows.follow(ana.context, other.opaque_id)
            assert outcome.user is not None
            assert outcome.user.relationship.follows.name == "ACTIVE"


async def test_a_late_run_that_meets_its_repeat_has_no_second_effect(make_person: MakePerson) -> None:
    ana, key = await make_person(), name()
    edits = [ProfileEdit({"bio": bio}, None, None) for bio in ("first", "between", "first")]
    named = await interrupted(ana, key, lambda: settings.update_profile(ana.context, edits[0]))
    await settings.update_profile(ana.context, edits[1])
    late = Effects(named, NOW + KEPT)
    late.begin_field()
    with recording(late):
        outcome = await settings.update_profile(ana.context, edits[2])
    assert outcome.user is not None
    assert outcome.user.user.bio == "between"


async def test_preferences_and_sign_outs_are_not_repeated_either(make_person: MakePerson) -> None:
    ana, key, other_key = await make_person(), name(), name()

    async def prefer() -> Any:
        return await notification_preferences.update_preferences(ana.context, {}, 9)

    await interrupted(ana, key, prefer)
    await notification_preferences.update_preferences(ana.context, {}, 5)
    assert (await repeated(ana, key, prefer)).preferences.new_account_days == 5
    database = ana.backend.database
    logged = "SELECT count(*) AS rows FROM audit_logs WHERE actor_id = $1 AND action = 'session.revoked'"
    everything = Revocation(ana.id, RevocationKind.EARLIER, "", NOW.timestamp(), NOW.timestamp() + 900)
    await interrupted(ana, other_key, lambda: revoke(database, everything))
    await repeated(ana, other_key, lambda: revoke(database, everything))
    assert [row["rows"] for row in await database.shards.home(ana.id).fetch(logged, ana.id)] == [1]


async def test_what_a_process_did_that_was_killed_before_it_answered_is_not_done_again(
    make_person: MakePerson, dsns: tuple[str, ...]
) -> None:
    ana, bo, key = await make_person(), await make_person(), name()
    script = ROOT / "tests" / "integration" / "mortal_answer.py"
    arguments = json.dumps({"dsns": dsns, "key": KEY.hex(), "ana": ana.id, "bo": bo.id, "name": key})
    child = await asyncio.create_subprocess_exec(sys.executable, script, arguments, cwd=ROOT)
    assert await child.wait() == -9
    home = ana.backend.database.shards.home(ana.id)
    with pytest.raises(StillRunning):
        await Repeats(ana.backend.database, KEYS).once(ana.id, key, ASKED, Counted())
    assert (await follows.unfollow(ana.context, bo.opaque_id)).user_errors == ()
    await home.fetch(LET_GO, ana.id, dt.datetime.now(dt.UTC))
    outcome = await repeated(ana, key, lambda: follows.follow(ana.context, bo.opaque_id))
    assert outcome.user.relationship.follows.name == "NONE"


async def test_a_day_later_nothing_is_left(repeats: Repeats, database: Database, make_person: MakePerson) -> None:
    ana, bo, key, run = await make_person(), await make_person(), name(), Counted()
    await interrupted(ana, name(), lambda: follows.follow(ana.context, bo.opaque_id))
    await repeats.once(ana.id, key, ASKED, run)
    for cell in database.shards.cells:
        await forget_expired(cell, dt.datetime.now(dt.UTC))
    assert len(await rows_of(database, ana)) == 3
    for cell in database.shards.cells:
        await forget_expired(cell, dt.datetime.now(dt.UTC) + KEPT + dt.timedelta(minutes=1))
    assert await rows_of(database, ana) == []


async def test_a_purge_erases_what_was_answered_and_nothing_is_kept_anew(
    repeats: Repeats, database: Database, make_person: MakePerson
) -> None:
    ana, bo, run = await make_person(), await make_person(), Counted()
    await interrupted(ana, name(), lambda: follows.follow(ana.context, bo.opaque_id))
    await repeats.once(ana.id, name(), ASKED, run)
    [store] = [store for store in STORES if store.name == "repeats"]
    assert await store.erase(database, ana.id) == 3
    assert await rows_of(database, ana) == []
    await database.shards.home(ana.id).fetch("UPDATE users SET state = 4 WHERE id = $1", ana.id)
    await repeats.once(ana.id, name(), ASKED, run)
    assert await rows_of(database, ana) == []


FOLLOW: Final = (
    "mutation($id: ID!) { followUser(input: {userId: $id}) { user { viewerIsFollowing } userErrors { code } "
    "consistencyToken } }"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Doors:
    """Sends mutations to a server, each with a key."""

    served: Served
    session: aiohttp.ClientSession

    async def post(self, person: Person, key: str | None, *, query: str = FOLLOW, **variables: Any) -> tuple[int, Any]:
        """Send a mutation in JSON."""
        return await self.send(person, key, query, variables, "application/graphql-response+json")

    async def send(
        self, person: Person, key: str | None, query: str, variables: object, accept: str
    ) -> tuple[int, Any]:
        """Send a mutation and give the status and the body."""
        headers = {"Authorization": f"Bearer {self.served.token(person)}", "Accept": accept}
        if key is not None:
            headers["Idempotency-Key"] = key
        body = {"query": query, "variables": variables}
        async with self.session.post(self.served.url, json=body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def rest(self, person: Person, key: str, method: str, path: str) -> tuple[int, Any]:
        """Ask REST for a mutation."""
        headers = {"Authorization": f"Bearer {self.served.token(person)}", "Idempotency-Key": key}
        url = self.served.url.replace("/graphql", path)
        async with self.session.request(method, url, headers=headers) as answer:
            return answer.status, (await answer.read(), answer.headers.get("X-Consistency-Token"))

    async def stream(self, person: Person, key: str, **variables: Any) -> tuple[int, Any]:
        """Send a mutation, answered as an event stream."""
        return await self.send(person, key, FOLLOW, variables, "text/event-stream")

    async def socket(self, person: Person, key: object, **variables: Any) -> tuple[int, Any]:
        """Send a mutation over a WebSocket, which has no headers for it."""
        async with self.served.socket(person) as socket:
            extensions = {"idempotencyKey": key}
            asked = {"query": FOLLOW, "variables": variables, "extensions": extensions}
            await socket.write(text({"type": "subscribe", "id": "1", "payload": asked}))
            await socket.read_frame()
            _, payload = await socket.read_frame()
            message = json.loads(payload)
        return 200 if message["type"] == "next" else 0, message["payload"]


@pytest.fixture
async def doors(serve: Serve) -> AsyncIterator[Doors]:
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Doors(await serve(Caps()), session)


@pytest.mark.parametrize("door", ["post", "rest", "stream", "socket"])
async def test_a_repeat_by_any_door_gives_the_same_answer_and_has_no_second_effect(
    doors: Doors, make_person: MakePerson, door: str
) -> None:
    ana, bo, key = await make_person(), await make_person(), name()

    async def send() -> tuple[int, Any]:
        if door == "rest":
            return await doors.rest(ana, key, "POST", f"/v1/social/follow/{bo.opaque_id}")
        return await getattr(doors, door)(ana, key, id=bo.opaque_id)  # type: ignore[no-any-return]

    first = await send()
    assert first[0] == 200
    assert (await doors.post(ana, None, query=FOLLOW.replace("follow", "unfollow", 1), id=bo.opaque_id))[0] == 200
    assert await send() == first
    seen = await doors.post(ana, None, query="query($id: ID!) { user(id: $id) { viewerIsFollowing } }", id=bo.opaque_id)
    assert json.loads(seen[1])["data"]["user"]["viewerIsFollowing"] is False


async def test_a_key_of_another_request_is_refused_by_every_door(doors: Doors, make_person: MakePerson) -> None:
    ana, bo, cy, key = await make_person(), await make_person(), await make_person(), name()
    assert (await doors.post(ana, key, id=bo.opaque_id))[0] == 200
    for status, body in (
        await doors.post(ana, key, id=cy.opaque_id),
        await doors.stream(ana, key, id=cy.opaque_id),
        await doors.post(ana, f'"{key}"', query=FOLLOW + " # another", id=bo.opaque_id),
    ):
        assert (status, json.loads(body)["errors"][0]["extensions"]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    status, (document, _) = await doors.rest(ana, key, "POST", f"/v1/social/follow/{bo.opaque_id}")
    assert (status, json.loads(document)["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (await doors.socket(ana, key, id=cy.opaque_id))[1][0]["extensions"]["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert (await doors.post(bo, key, id=cy.opaque_id))[0] == 200  # another person's


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, 'a"b', '"a', "é", "a\\b", "a\tb"])
async def test_what_is_no_key_is_refused(doors: Doors, make_person: MakePerson, key: str) -> None:
    ana, bo = await make_person(), await make_person()
    status, body = await doors.post(ana, key, id=bo.opaque_id)
    assert (status, json.loads(body)["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")
    assert b"Idempotency-Key" in body
    assert (await doors.post(ana, key, query="{ __typename }"))[0] == 200  # nothing to repeat


async def test_a_key_on_a_socket_is_a_text(doors: Doors, make_person: MakePerson) -> None:
    ana = await make_person()
    keys: tuple[object, ...] = (1, [], {}, True, "")
    for key in keys:
        assert (await doors.socket(ana, key, id="x"))[1][0]["extensions"]["code"] == "BAD_REQUEST"


def text(message: object) -> bytes:
    from tests.integration.test_sockets import text as framed  # noqa: PLC0415 - one form of frames

    return framed(message)
