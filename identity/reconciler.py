"""The reconciler: looks again and again whether every account has its person, each person an account, and every
sign-up its courier.

Deliveries and facts do all of it, as long as no row is lost. This finds what a restored backup, or a hand in the
database, has left: what can be put right is. An account whose person nobody knows is counted, and left alone, and so is
a person whose account is not here: it may be the account that is missing, and not the person who is too much.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from domain.sign_ups import Made, Standing
from identity.commands import CommandKind, queue_command
from identity.database import Connection, Database, Unavailable
from identity.erasures import erase_account
from identity.events import write_event
from identity.metrics import ORPHANS, PEOPLE_ALONE
from identity.parts import Parts
from identity.tasks import running
from identity.user_service import UserService, open_user_service
from storage.signed_client import NotReached, NotUnderstood

EVERY_S: Final = 60.0
BATCH: Final = 200
_LOCK: Final = "SELECT pg_try_advisory_xact_lock(5461011)"
_LEFT_ALONE: Final = """
SELECT s.id FROM sign_ups s
WHERE s.state = 'ASKED' AND NOT EXISTS (SELECT FROM commands c WHERE c.subject_id = s.id AND c.kind = 'CREATE')
ORDER BY s.id LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_ACCOUNTS: Final = "SELECT id, subject FROM accounts WHERE id > $1 AND state <> 'ERASED' ORDER BY id LIMIT $2"
_ALONE: Final = """
SELECT p.attempt FROM unnest($1::uuid[], $2::text[]) AS p (attempt, subject)
WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.subject = p.subject)
AND NOT EXISTS (SELECT FROM sign_ups s WHERE s.attempt = p.attempt AND s.state = 'ASKED')
AND NOT EXISTS (SELECT FROM commands c WHERE c.subject_id = p.attempt AND c.kind = 'TAKE_BACK')
"""
_TOLD: Final = 10
_FIRST: Final = uuid.UUID(int=0)
_LOG: Final = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Reconciler:
    """Compares the two services."""

    database: Database
    users: UserService

    async def work(self) -> None:
        """Look around every minute, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.look_around(dt.datetime.now(dt.UTC))
                await self.find_people_alone()
            except (Unavailable, NotReached, NotUnderstood) as error:
                _LOG.warning("accounts are not compared: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 - it goes on, whatever is wrong with one
                _LOG.exception("accounts are not compared")

    async def look_around(self, now: dt.datetime) -> int:
        """Have sign-ups that were left alone asked for again, and compare accounts; gives how many have no person."""
        async with self.database.transaction() as connection:
            if not await connection.fetchval(_LOCK):
                return 0
            await self._ask_again(connection)
        orphans, last = 0, _FIRST
        while rows := await self._fetch_accounts(last):
            orphans += await self._compare([(row_id, subject) for row_id, subject in rows], now)
            last = rows[-1][0]
        ORPHANS.set(orphans)
        return orphans

    async def find_people_alone(self) -> set[UUID]:
        """Find people without an account here, whom nothing is on its way to: by the ids under which they were made."""
        alone, after = set[UUID](), None
        while True:
            page = await self.users.fetch_people(after)
            alone |= await self._fetch_alone(page.people)
            after = page.last
            if after is None:
                break
        PEOPLE_ALONE.set(len(alone))
        if alone:
            some = ", ".join(map(str, sorted(alone)[:_TOLD]))
            _LOG.error("%d people have no account, made for the sign-ups %s …", len(alone), some)
        return alone

    async def _fetch_alone(self, people: Sequence[Made]) -> set[UUID]:
        attempts, subjects = [made.sign_up_id for made in people], [made.user_id for made in people]
        async with self.database.connection() as connection:
            return {row["attempt"] for row in await connection.fetch(_ALONE, attempts, subjects)}

    async def _ask_again(self, connection: Connection) -> None:
        for row in await connection.fetch(_LEFT_ALONE, BATCH):
            await queue_command(connection, CommandKind.CREATE, row["id"])
            await write_event(connection, "sign_up.asked_again", what=str(row["id"]))

    async def _fetch_accounts(self, last: UUID) -> list[tuple[UUID, str]]:
        async with self.database.connection() as connection:
            return [(row["id"], row["subject"]) for row in await connection.fetch(_ACCOUNTS, last, BATCH)]

    async def _compare(self, accounts: Sequence[tuple[UUID, str]], now: dt.datetime) -> int:
        """Erase accounts of the purged; gives how many belong to nobody whom the user service knows."""
        standings = await self.users.fetch_standings([subject for _, subject in accounts])
        for (_, subject), standing in zip(accounts, standings, strict=True):
            if standing is Standing.PURGED:
                async with self.database.transaction() as connection:
                    await erase_account(connection, subject, now)
        unknown = standings.count(Standing.UNKNOWN)
        if unknown:
            _LOG.error("%d accounts have no person: is it the right user service, with the right key?", unknown)
        return unknown


@contextlib.asynccontextmanager
async def reconcilers(parts: Parts) -> AsyncIterator[None]:
    """Compare for as long as the context is open, where it is known where the user service is."""
    if parts.settings.internal_url is None:
        yield
        return
    async with (
        open_user_service(parts.settings.internal_url, parts.keys.commands) as users,
        running(Reconciler(parts.database, users).work()),
    ):
        yield
