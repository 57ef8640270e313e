"""Sign-ups as the user service has them: one person for each, on one cell and two, whatever is cut off in between."""

import asyncio
import datetime as dt
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, web

from domain.departures import GRACE
from domain.errors import KithError, Overloaded
from domain.ids import NodeType, new_id
from domain.signed_requests import HEADER, WINDOW_S, Request
from domain.users import UserState
from resolvers.context import Backend, new_context
from storage import sign_ups
from storage.cells import Cell
from storage.database import Database
from storage.deletions import delete_account
from storage.names import Claim, UsernameTaken, unclaim
from storage.personal import fetch_details
from storage.renames import PENDING_FOR, settle_claims
from storage.sign_ups import SignUp, SignUpReused, sign_up
from storage.users import NewUser, create_user, fetch_ids_by_name, fetch_state
from tests.asking import ask
from tests.conftest import MakePerson, Person
from transport.internal import make_internal_app

KEY = secrets.token_bytes(32)
SHOWN = "query($id: ID!) { user(id: $id) { username email } }"
_PEOPLE = "SELECT id FROM users WHERE username = ANY($1::text[])"


class Killed(KithError):
    """The process dies here."""


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def fresh(stem: str = "new") -> str:
    return f"{stem}{secrets.token_hex(6)}"


def wanted(name: str, *, sign_up_id: uuid.UUID | None = None) -> SignUp:
    return SignUp(sign_up_id or uuid.uuid4(), name, f"{name}@example.org")


def living_in(database: Database, cell: int) -> uuid.UUID:
    """Make the id of a sign-up whose person lives in a cell."""
    number, cells = uuid.uuid4().int, len(database.shards.cells)
    return uuid.UUID(int=number - number % cells + cell % cells)


async def people_named(database: Database, *names: str) -> list[int]:
    return [row["id"] for cell in database.shards.cells for row in await cell.fetch(_PEOPLE, list(names))]


@pytest.fixture(params=[0, 1], ids=["first cell", "last cell"])
def sign_up_id(request: pytest.FixtureRequest, database: Database) -> uuid.UUID:
    return living_in(database, request.param)


async def test_a_sign_up_makes_one_person_however_often_it_is_asked_for(
    backend: Backend, sign_up_id: uuid.UUID
) -> None:
    database, name = backend.database, fresh()
    asked = [sign_up(database, backend.vault, wanted(name, sign_up_id=sign_up_id), now=now()) for _ in range(4)]
    answers = set(await asyncio.gather(*asked))
    answers.add(await sign_up(database, backend.vault, wanted(name, sign_up_id=sign_up_id), now=now()))
    [user_id] = await people_named(database, name)
    assert answers == {user_id}
    assert await fetch_ids_by_name(database, [name]) == {name: user_id}
    told = "SELECT type FROM outbox WHERE aggregateid = $1"
    opaque = database.ids.encode(NodeType.USER, user_id)
    assert [row["type"] for row in await database.shards.home(user_id).fetch(told, opaque)] == ["user.created"]
    assert await settle_claims(database, now() + PENDING_FOR * 2, limit=1000) >= 0
    assert await fetch_ids_by_name(database, [name]) == {name: user_id}


async def test_one_id_is_not_used_for_two_names(backend: Backend, sign_up_id: uuid.UUID) -> None:
    name = fresh()
    assert await sign_up(backend.database, backend.vault, wanted(name, sign_up_id=sign_up_id), now=now())
    with pytest.raises(SignUpReused):
        await sign_up(backend.database, backend.vault, wanted(fresh(), sign_up_id=sign_up_id), now=now())


async def test_a_name_that_is_taken_is_an_answer_and_stays_one(
    backend: Backend, make_person: MakePerson, sign_up_id: uuid.UUID
) -> None:
    other = await make_person()
    refused = wanted(other.name.upper(), sign_up_id=sign_up_id)
    assert await sign_up(backend.database, backend.vault, refused, now=now()) is None
    await delete_account(backend.database, other.id, now())
    await backend.database.shards.directory.fetch("DELETE FROM usernames WHERE user_id = $1", other.id)
    await backend.database.shards.directory.fetch("DELETE FROM username_skeletons WHERE user_id = $1", other.id)
    assert await sign_up(backend.database, backend.vault, refused, now=now()) is None
    assert await people_named(backend.database, refused.username) == []
    assert await sign_up(backend.database, backend.vault, wanted(other.name), now=now()) is not None


async def test_of_many_who_want_names_that_look_alike_one_is_made(backend: Backend) -> None:
    stem = fresh("a")
    names = [f"{stem}{one}{two}x" for one in "l1iI" for two in "o0O"]
    asked = [sign_up(backend.database, backend.vault, wanted(name), now=now()) for name in names]
    answers = await asyncio.gather(*asked)
    assert len([answer for answer in answers if answer is not None]) == 1
    assert len(await people_named(backend.database, *names)) == 1


async def test_whatever_statement_it_dies_after_the_next_try_ends_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, sign_up_id: uuid.UUID
) -> None:
    """Transactions end with or without their effect, one after the other; nobody is made twice, and no name is lost."""
    database = backend.database
    transact, number = Cell.transact, 0
    while True:
        number += 1
        sign, left = wanted(fresh(), sign_up_id=living_in(database, sign_up_id.int)), number

        async def dying(cell: Cell, work: Callable[[Any], Awaitable[Any]]) -> object:
            nonlocal left
            left -= 2
            if left == -1:
                raise Killed
            done = await transact(cell, work)
            if left == 0:
                raise Killed
            return done

        with monkeypatch.context() as patched:
            patched.setattr(Cell, "transact", dying)
            try:
                first = await sign_up(database, backend.vault, sign, now=now())
            except Killed:
                first = None
        again = await sign_up(database, backend.vault, sign, now=now())
        assert await people_named(database, sign.username) == [again]
        assert await fetch_ids_by_name(database, [sign.username]) == {sign.username: again}
        if first is not None:
            break
    assert number > 2


async def test_a_home_that_comes_back_too_late_makes_nobody(backend: Backend) -> None:
    """The claim was taken back meanwhile and somebody else has the name: what is still on its way finds the receipt."""
    database = backend.database
    if len(database.shards.cells) == 1:
        pytest.skip("the directory is everybody's home")
    late = wanted(fresh(), sign_up_id=living_in(database, 1))
    work, at = sign_ups._SigningUp(database, backend.vault, late, now()), now()
    begun = await database.shards.directory.transact(work._begin)
    assert begun.has_name
    claimed = Claim(late.username, begun.user_id, work.now)
    await database.shards.directory.transact(lambda connection: unclaim(connection, claimed))
    await create_user(database, NewUser(late.username), cell=0, now=at)
    assert await sign_up(database, backend.vault, late, now=now()) is None
    assert await work._go_on(begun) is sign_ups.Outcome.REFUSED
    assert await fetch_state(database, begun.user_id) is None


async def test_whom_a_home_made_too_late_is_purged(backend: Backend) -> None:
    database = backend.database
    if len(database.shards.cells) == 1:
        pytest.skip("the directory is everybody's home")
    late = wanted(fresh(), sign_up_id=living_in(database, 1))
    work = sign_ups._SigningUp(database, backend.vault, late, now())
    begun = await database.shards.directory.transact(work._begin)
    await database.shards.home(begun.user_id).transact(lambda found: work._insert(found, begun.user_id))
    claimed = Claim(late.username, begun.user_id, work.now)
    await database.shards.directory.transact(lambda connection: unclaim(connection, claimed))
    await create_user(database, NewUser(late.username), cell=0, now=now())
    assert await sign_up(database, backend.vault, late, now=now()) is None
    assert await fetch_state(database, begun.user_id) is UserState.DELETED
    due = "SELECT FROM deletions WHERE user_id = $1 AND restorable_until <= now()"
    assert await database.shards.home(begun.user_id).fetch(due, begun.user_id)


async def test_an_id_that_is_somebody_elses_is_given_up_for_another(
    backend: Backend, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, other = backend.database, await make_person(cell=-1 % len(backend.database.shards.cells))
    ids, make = [other.id], new_id
    monkeypatch.setattr(sign_ups, "new_id", lambda cell: ids.pop() if ids else make(cell))
    name = fresh()
    user_id = await sign_up(database, backend.vault, wanted(name), now=now())
    assert user_id not in (None, other.id)
    assert await fetch_ids_by_name(database, [name, other.name]) == {name: user_id, other.name: other.id}


@pytest.fixture
async def door(backend: Backend) -> AsyncIterator["Door"]:
    runner = web.AppRunner(make_internal_app(backend, KEY), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield Door(session)
    finally:
        await runner.cleanup()


class Door:
    """Asks as the auth service does."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        key: bytes = KEY,
        at: float | None = None,
        signature: str | None = None,
    ) -> tuple[int, dict[str, Any]]:
        moment = at if at is not None else dt.datetime.now(dt.UTC).timestamp()
        signed = Request(method, path, body).sign(key, moment)
        named = {HEADER: signed if signature is None else signature, "Content-Type": "application/json"}
        async with self._session.request(method, path, data=body, headers=named) as response:
            return response.status, await response.json()

    async def create(self, name: str, sign_up_id: uuid.UUID | None = None) -> tuple[int, dict[str, Any]]:
        body = f'{{"username":"{name}","email":"{name}@example.org","emailVersion":1}}'
        return await self.ask("PUT", f"/internal/users/{sign_up_id or uuid.uuid4()}", body.encode())

    async def set_email(self, user_id: str, email: str, version: int) -> tuple[int, dict[str, Any]]:
        body = f'{{"email":"{email}","version":{version}}}'
        return await self.ask("PUT", f"/internal/users/{user_id}/email", body.encode())


async def test_the_door_makes_a_person_with_an_address_that_only_the_person_sees(
    door: Door, backend: Backend, make_person: MakePerson
) -> None:
    name, sign_up_id = fresh(), uuid.uuid4()
    answers = [await door.create(name, sign_up_id) for _ in range(2)]
    assert answers[0] == answers[1]
    status, answer = answers[0]
    assert (status, answer["refusal"]) == (200, None)
    user_id = backend.database.ids.decode(NodeType.USER, answer["userId"])
    assert user_id is not None
    me = Person(user_id, name, answer["userId"], backend)
    shown = await ask(me.context, SHOWN, id=me.opaque_id)
    assert shown["data"]["user"] == {"username": name, "email": f"{name}@example.org"}
    for context in ((await make_person()).context, new_context(backend, None)):
        shown = await ask(context, SHOWN, id=me.opaque_id)
        assert shown["data"]["user"] == {"username": name, "email": None}


@pytest.mark.parametrize(
    ("name", "refusal"),
    [("a..b", "USERNAME_INVALID"), ("admin", "USERNAME_UNAVAILABLE"), ("abc", "USERNAME_UNAVAILABLE")],
)
async def test_a_name_that_a_newcomer_cannot_have_is_refused(door: Door, name: str, refusal: str) -> None:
    assert await door.create(name) == (200, {"userId": None, "refusal": refusal})


async def test_an_address_is_as_the_latest_word_on_it_says(door: Door, backend: Backend) -> None:
    _, made = await door.create(fresh())
    user_id = backend.database.ids.decode(NodeType.USER, made["userId"]) or 0
    for email, version in (("two@example.org", 2), ("four@example.org", 4), ("three@example.org", 3)):
        assert await door.set_email(made["userId"], email, version) == (200, {"known": True})
    details = (await fetch_details(backend.database, backend.vault, [user_id]))[user_id]
    assert (details.email, details.email_version) == ("four@example.org", 4)
    assert await door.set_email(secrets.token_urlsafe(16), "a@example.org", 1) == (200, {"known": False})


async def test_the_end_of_sessions_is_written_once(door: Door, backend: Backend, make_person: MakePerson) -> None:
    me = await make_person()
    body = f'{{"userId":"{me.opaque_id}","sessionId":"s1","revokedAt":"{now().isoformat()}"}}'.encode()
    for _ in range(2):
        assert await door.ask("POST", "/internal/revocations", body) == (200, {"known": True})
    told = "SELECT FROM outbox WHERE aggregateid = $1 AND type = 'session.revoked'"
    assert len(await backend.database.shards.home(me.id).fetch(told, me.opaque_id)) == 1


async def test_what_has_become_of_people_is_told(door: Door, backend: Backend, make_person: MakePerson) -> None:
    there, gone = await make_person(), await make_person()
    await delete_account(backend.database, gone.id, now())
    ids = f'{{"userIds":["{gone.opaque_id}","{secrets.token_urlsafe(16)}","{there.opaque_id}"]}}'
    answer = {"standings": ["DELETED", "UNKNOWN", "PRESENT"]}
    assert await door.ask("POST", "/internal/standings", ids.encode()) == (200, answer)


async def test_whether_a_name_is_to_be_had_is_told(door: Door, make_person: MakePerson) -> None:
    asked = [f'{{"username":"{name}"}}'.encode() for name in (fresh(), (await make_person()).name)]
    assert await door.ask("POST", "/internal/names", asked[0]) == (200, {"isAvailable": True, "suggestions": []})
    status, answer = await door.ask("POST", "/internal/names", asked[1])
    assert (status, answer["isAvailable"], len(answer["suggestions"])) == (200, False, 3)


async def test_whom_nobody_can_be_is_taken_back(door: Door, backend: Backend) -> None:
    sign_up_id = uuid.uuid4()
    path = f"/internal/users/{sign_up_id}"
    assert await door.ask("DELETE", path) == (200, {"known": False})
    _, made = await door.create(fresh(), sign_up_id)
    for _ in range(2):
        assert await door.ask("DELETE", path) == (200, {"known": True})
    user_id = backend.database.ids.decode(NodeType.USER, made["userId"]) or 0
    assert await fetch_state(backend.database, user_id) is UserState.DELETED
    [row] = await backend.database.shards.home(user_id).fetch(
        "SELECT restorable_until FROM deletions WHERE user_id = $1", user_id
    )
    assert row["restorable_until"] < now() + GRACE / 2


async def test_only_the_auth_service_is_heard(door: Door) -> None:
    at, path = dt.datetime.now(dt.UTC).timestamp(), f"/internal/users/{uuid.uuid4()}"
    body = b'{"username":"x","email":"x@example.org","emailVersion":1}'
    good = Request("PUT", path, body).sign(KEY, at)
    refused = [
        await door.ask("PUT", path, body, signature=""),
        await door.ask("PUT", path, body, key=bytes(32)),
        await door.ask("PUT", path, body, at=at - WINDOW_S - 5),
        await door.ask("PUT", path, body, at=at + WINDOW_S + 30),
        await door.ask("PUT", path, body + b" ", signature=good),
        await door.ask("PUT", path + "?a", body, signature=good),
        await door.ask("DELETE", path, body, signature=good),
        await door.ask("PUT", path[:-1], body, signature=good),
    ]
    assert [status for status, _ in refused] == [401] * len(refused)
    said = [answer["errors"][0]["message"].split(":")[0][:18] for _, answer in refused]
    assert set(said[1:2]) == {"The signature is n"}
    assert "Sign the request" in said[0]
    assert said[2] == said[3] == "The time of the si"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"username":"xyzabc","email":"x","emailVersion":1}',
        b'{"username":1,"email":"x@y","emailVersion":1}',
        b'{"username":"xyzabc","email":"home @ x","emailVersion":1}',
        b'{"username":"xyzabc","email":"a@b","emailVersion":0}',
        b'{"username":"xyzabc","email":"a@b","emailVersion":1,"more":1}',
    ],
)
async def test_what_is_no_command_is_refused_without_being_repeated(door: Door, body: bytes) -> None:
    status, answer = await door.ask("PUT", f"/internal/users/{uuid.uuid4()}", body)
    assert status == 400
    assert "home @" not in str(answer)


async def test_a_cell_that_is_away_is_said_to_be_so(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_cell: Cell, _work: object) -> None:
        raise Overloaded

    monkeypatch.setattr(Cell, "transact", away)
    status, answer = await door.create(fresh())
    assert (status, answer["errors"][0]["extensions"]["code"]) == (503, "OVERLOADED")


async def test_a_name_that_was_refused_is_free_for_whoever_may_have_it(backend: Backend) -> None:
    first = wanted(fresh())
    await sign_up(backend.database, backend.vault, first, now=now())
    with pytest.raises(UsernameTaken):
        await create_user(backend.database, NewUser(first.username), cell=0, now=now())
