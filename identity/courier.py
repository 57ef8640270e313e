"""The courier: brings to the user service what waits for it, as soon as it is committed, until it has been done.

A row is taken under a lease, so that any number of couriers may run; one that dies leaves it to the next. What comes
twice has its effect once, over there and here.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
from collections.abc import AsyncIterator
from typing import Final

from domain.sign_ups import Revoke, SetEmail
from identity.accounts import TABLE as ACCOUNTS
from identity.accounts import fetch_account
from identity.commands import CommandKind, Queue, Waiting, fetch_oldest, finish, put_off, take
from identity.database import Database, Unavailable
from identity.emails import Emails
from identity.metrics import DELIVERIES, UNDELIVERED
from identity.parts import Parts
from identity.sign_ups import FIRST_EMAIL, fetch_asked, settle
from identity.tasks import running
from identity.user_service import UserService, open_user_service
from storage.signed_client import NotReached, NotUnderstood

CHANNEL: Final = "kith_courier"
BATCH: Final = 20
POLL_S: Final = 0.5
"""How long something may wait where the call that wakes the courier got lost."""
_LINE_CHECKED_EVERY_S: Final = 5.0
_ENDING: Final = "ENDING"
_LOG: Final = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Courier:
    """Delivers what is due."""

    database: Database
    emails: Emails
    users: UserService
    bell: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    async def work(self) -> None:
        """Deliver whenever the bell rings and every half second, until cancelled."""
        while True:
            self.bell.clear()
            try:
                while await self.deliver_due(dt.datetime.now(dt.UTC)) >= BATCH:
                    pass
                await self.observe(dt.datetime.now(dt.UTC))
            except Unavailable:
                _LOG.warning("commands wait: the database does not answer")
            except Exception:  # noqa: BLE001 - the rest goes on, whatever is wrong with one
                _LOG.exception("commands wait")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.bell.wait(), POLL_S)

    async def deliver_due(self, now: dt.datetime) -> int:
        """Deliver a batch of what is due, side by side; gives how many were tried."""
        taken: list[Waiting] = []
        async with self.database.transaction() as connection:
            for queue in Queue:
                taken += await take(connection, queue, now, BATCH)
        await asyncio.gather(*map(self._deliver, taken))
        return len(taken)

    async def observe(self, now: dt.datetime) -> None:
        """Tell for how long the oldest row of each queue has waited."""
        async with self.database.connection() as connection:
            for queue in Queue:
                since = await fetch_oldest(connection, queue)
                UNDELIVERED.labels(queue.value).set((now - since).total_seconds() if since is not None else 0.0)

    async def listen(self) -> None:
        """Hear of each commit that leaves something to deliver, until cancelled; while nobody calls, polling does."""
        while True:
            with contextlib.suppress(Unavailable):
                async with self.database.connection() as connection:
                    await connection.add_listener(CHANNEL, self._ring)
                    try:
                        while not connection.is_closed():
                            await asyncio.sleep(_LINE_CHECKED_EVERY_S)
                    finally:
                        if not connection.is_closed():
                            await connection.remove_listener(CHANNEL, self._ring)
            await asyncio.sleep(_LINE_CHECKED_EVERY_S)

    def _ring(self, *_told: object) -> None:
        self.bell.set()

    async def _deliver(self, waiting: Waiting) -> None:
        kind = waiting.row["kind"] if waiting.queue is Queue.COMMANDS else _ENDING
        try:
            await self._bring(kind, waiting)
        except (NotReached, NotUnderstood) as error:
            is_defect = isinstance(error, NotUnderstood)
            DELIVERIES.labels(kind, "refused" if is_defect else "put off").inc()
            _LOG.log(logging.ERROR if is_defect else logging.WARNING, "%s is not delivered: %s", kind, error)
            async with self.database.connection() as connection:
                await put_off(connection, waiting, dt.datetime.now(dt.UTC))
        else:
            DELIVERIES.labels(kind, "done").inc()

    async def _bring(self, kind: str, waiting: Waiting) -> None:
        if kind == CommandKind.CREATE:
            await self._create(waiting)
            return
        if kind == CommandKind.EMAIL:
            await self._tell_email(waiting)
        elif kind == CommandKind.TAKE_BACK:
            await self.users.take_back(waiting.row["subject_id"])
        else:
            row = waiting.row
            command = Revoke(user_id=row["subject"], session_id=row["session"], revoked_at=row["ended_at"])
            await self.users.revoke(command)
        async with self.database.connection() as connection:
            await finish(connection, waiting)

    async def _create(self, waiting: Waiting) -> None:
        async with self.database.connection() as connection:
            asked = await fetch_asked(connection, self.emails, waiting.row["subject_id"])
        answer = await self.users.create_user(asked.attempt, asked.command) if asked is not None else None
        async with self.database.transaction() as connection:
            if asked is not None and answer is not None:
                await settle(connection, self.emails, asked, answer, dt.datetime.now(dt.UTC))
            await finish(connection, waiting)

    async def _tell_email(self, waiting: Waiting) -> None:
        """Tell the address that the account has by now, under the number of the row: a later row has a higher one."""
        async with self.database.connection() as connection:
            account = await fetch_account(connection, waiting.row["subject_id"])
        if account is not None:
            email = await self.emails.open(ACCOUNTS, account.id, account.email)
            await self.users.set_email(account.subject, SetEmail(email=email, version=FIRST_EMAIL + waiting.id))


@contextlib.asynccontextmanager
async def couriers(parts: Parts) -> AsyncIterator[None]:
    """Deliver for as long as the context is open, where it is known where the user service is."""
    if parts.settings.internal_url is None:
        yield
        return
    async with open_user_service(parts.settings.internal_url, parts.keys.commands) as users:
        courier = Courier(parts.database, parts.emails, users)
        async with running(courier.work(), courier.listen()):
            yield
