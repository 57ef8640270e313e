"""Signing up: one person for each sign-up of the auth service, however often it is asked for and whatever dies.

The directory notes the id that the person is going to have, with the claim of the name; then the person's home writes
the person and a receipt in one transaction; then the directory notes the answer, which is final. Whoever asks again
goes on with the same id from wherever that was left.
"""

import contextlib
import dataclasses
import datetime as dt
import enum
import functools
import uuid
from typing import Final

from domain.departures import GRACE
from domain.errors import KithError
from domain.events import EventType
from domain.ids import cell_of, new_id
from domain.personal import PersonalDetails
from domain.usernames import username_key
from storage.audit import write_audit
from storage.cells import Connection
from storage.database import Database
from storage.deletions import delete_account, make_due
from storage.limits import Priority
from storage.names import Claim, UsernameTaken, claim, confirm, unclaim
from storage.personal import change_details
from storage.users import IdTaken, NewUser, insert_user
from storage.vault import Vault
from storage.wholly import wholly

FIRST_VERSION: Final = 1
_ID_ATTEMPTS: Final = 4

_NOTE: Final = "INSERT INTO sign_ups (id, user_id, wanted) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING"

_FETCH: Final = "SELECT user_id, wanted, outcome FROM sign_ups WHERE id = $1 FOR UPDATE"

_FETCH_MADE: Final = "SELECT user_id FROM sign_ups WHERE id = $1 AND outcome = 1"

_FETCH_PAGE: Final = "SELECT id, user_id FROM sign_ups WHERE id > $1 AND outcome = 1 ORDER BY id LIMIT $2"

_ANSWER: Final = "UPDATE sign_ups SET outcome = $2 WHERE id = $1 AND outcome = 0"

_GIVE_ANOTHER_ID: Final = "UPDATE sign_ups SET user_id = $3 WHERE id = $1 AND user_id = $2 AND outcome = 0"

_WRITE_RECEIPT: Final = """
INSERT INTO sign_up_receipts (user_id, sign_up_id, made) VALUES ($1, $2, $3) ON CONFLICT (user_id) DO NOTHING
RETURNING true
"""

_RECEIPT: Final = "SELECT sign_up_id, made FROM sign_up_receipts WHERE user_id = $1"


class SignUpReused(KithError):
    """This sign-up was asked for with another name; a name that is refused needs a new one."""


class Outcome(enum.IntEnum):
    """What came of a sign-up; the numbers are those of the database."""

    OPEN = 0
    MADE = 1
    REFUSED = 2


@dataclasses.dataclass(frozen=True, slots=True)
class SignUp:
    """Somebody who wants to be made: the name as it is written, and the confirmed e-mail address."""

    id: uuid.UUID
    username: str
    email: str = dataclasses.field(repr=False)
    email_version: int = 1


async def sign_up(database: Database, vault: Vault, wanted: SignUp, *, now: dt.datetime) -> int | None:
    """Make the person of a sign-up and give the id, each time the same; None where the name cannot be had, for good.

    Raises:
        SignUpReused: it was asked for with another name.
        Overloaded: a cell does not answer; ask again.
    """
    work = _SigningUp(database, vault, wanted, now)
    return await wholly(work.run())


async def fetch_made(database: Database, sign_up_id: uuid.UUID) -> int | None:
    """Fetch who was made for a sign-up."""
    rows = await database.shards.directory.fetch(_FETCH_MADE, sign_up_id, priority=Priority.FACT)
    return rows[0]["user_id"] if rows else None


async def fetch_page(database: Database, after: uuid.UUID, limit: int) -> dict[uuid.UUID, int]:
    """Fetch who was made for the next sign-ups in the order of their ids."""
    rows = await database.shards.directory.fetch(_FETCH_PAGE, after, limit, priority=Priority.LIST)
    return {row["id"]: row["user_id"] for row in rows}


async def take_back(database: Database, user_id: int, now: dt.datetime) -> None:
    """Have somebody purged at once whom nobody can ever be: no account belongs to the person."""
    await delete_account(database, user_id, now - GRACE)
    await make_due(database, user_id, now)


@dataclasses.dataclass(frozen=True, slots=True)
class _Begun:
    """How far the directory has come: whose id it is going to be, what came of it, and whether the name is claimed."""

    user_id: int
    outcome: Outcome
    has_name: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class _SigningUp:
    database: Database
    vault: Vault
    wanted: SignUp
    now: dt.datetime

    async def run(self) -> int | None:
        for _ in range(_ID_ATTEMPTS):
            with contextlib.suppress(IdTaken):
                return await self._attempt()
        return await self._attempt()

    async def _attempt(self) -> int | None:
        begun = await self.database.shards.directory.transact(self._begin)
        outcome = await self._go_on(begun) if begun.outcome is Outcome.OPEN else begun.outcome
        if outcome is Outcome.REFUSED:
            return None
        await self.database.freshness.name_claimed(self._claim(begun.user_id).key, begun.user_id)
        return begun.user_id

    async def _begin(self, connection: Connection) -> _Begun:
        """Note the id and claim the name; where the directory is the home as well, all is done in this transaction."""
        begun = await self._note(connection)
        if begun.outcome is not Outcome.OPEN:
            return begun
        is_home = self.database.shards.home(begun.user_id) is self.database.shards.directory
        try:
            async with connection.transaction():
                await claim(self.database, connection, self._claim(begun.user_id), pending=not is_home)
        except UsernameTaken:
            if not is_home:
                return begun
            await connection.execute(_ANSWER, self.wanted.id, Outcome.REFUSED)
            return dataclasses.replace(begun, outcome=Outcome.REFUSED)
        if not is_home:
            return dataclasses.replace(begun, has_name=True)
        made = await self._insert(connection, begun.user_id)
        await connection.execute(_ANSWER, self.wanted.id, made)
        return dataclasses.replace(begun, outcome=made)

    async def _note(self, connection: Connection) -> _Begun:
        fresh = new_id(self.wanted.id.int % len(self.database.shards.cells))
        digest = self.database.digests.of(["sign-up", username_key(self.wanted.username)])
        await connection.execute(_NOTE, self.wanted.id, fresh, digest)
        [row] = await connection.fetch(_FETCH, self.wanted.id)
        if row["wanted"] != digest:
            raise SignUpReused
        return _Begun(row["user_id"], Outcome(row["outcome"]))

    async def _go_on(self, begun: _Begun) -> Outcome:
        """Make the person in another cell than that of names, or make sure that nobody ever is, and note which."""
        work = self._insert if begun.has_name else self._forestall
        try:
            outcome = await self.database.shards.home(begun.user_id).transact(
                functools.partial(work, user_id=begun.user_id)
            )
        except IdTaken:
            await self.database.shards.directory.transact(functools.partial(self._begin_anew, begun=begun))
            raise
        if outcome is Outcome.MADE and not begun.has_name:
            # The home was away for so long that the claim was taken back, and then did what had been sent to it.
            await take_back(self.database, begun.user_id, self.now)
            outcome = Outcome.REFUSED
        await self.database.shards.directory.transact(functools.partial(self._answer, begun=begun, outcome=outcome))
        return outcome

    async def _begin_anew(self, connection: Connection, *, begun: _Begun) -> None:
        other = new_id(cell_of(begun.user_id))
        await connection.execute(_GIVE_ANOTHER_ID, self.wanted.id, begun.user_id, other)
        await unclaim(connection, self._claim(begun.user_id))

    async def _answer(self, connection: Connection, *, begun: _Begun, outcome: Outcome) -> None:
        if outcome is Outcome.MADE:
            await confirm(connection, self._claim(begun.user_id), FIRST_VERSION)
        else:
            await unclaim(connection, self._claim(begun.user_id))
        await connection.execute(_ANSWER, self.wanted.id, outcome)

    async def _insert(self, connection: Connection, user_id: int) -> Outcome:
        """Write the person with receipt, address and audit row, unless that has been done or forestalled."""
        if not await connection.fetch(_WRITE_RECEIPT, user_id, self.wanted.id, True):  # noqa: FBT003 - a column
            return await self._read_receipt(connection, user_id)
        new = NewUser(self.wanted.username)
        await insert_user(self.database, connection, user_id, new, self.now)
        details = PersonalDetails(email=self.wanted.email, email_version=self.wanted.email_version)
        await change_details(connection, self.vault, user_id, lambda _none: details)
        await write_audit(
            self.database,
            connection,
            user_id,
            EventType.USER_CREATED.value,
            target_id=None,
            version=FIRST_VERSION,
            before=None,
            after=[user_id, new.username, details],
        )
        return Outcome.MADE

    async def _forestall(self, connection: Connection, user_id: int) -> Outcome:
        if await connection.fetch(_WRITE_RECEIPT, user_id, self.wanted.id, False):  # noqa: FBT003 - a column
            return Outcome.REFUSED
        return await self._read_receipt(connection, user_id)

    async def _read_receipt(self, connection: Connection, user_id: int) -> Outcome:
        [receipt] = await connection.fetch(_RECEIPT, user_id)
        if receipt["sign_up_id"] != self.wanted.id:
            raise IdTaken
        return Outcome.MADE if receipt["made"] else Outcome.REFUSED

    def _claim(self, user_id: int) -> Claim:
        return Claim(username_key(self.wanted.username) or self.wanted.username, user_id, self.now)
