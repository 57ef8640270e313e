"""Upkeep: what time ends, what is decided and not done yet, counters, days, seals: `python -m events.upkeep`.

One process at a time does it for a cell, by a lease. Every step is a batch that may be repeated, or left at any point.
"""

import asyncio
import dataclasses
import datetime as dt
import logging
import time
from contextlib import AbstractAsyncContextManager
from typing import Final

from domain.certificates import CertificateSigner
from events.export_worker import ExportWorker
from events.leased import Lease, run_leased
from events.metrics import (
    AUDIT_UNSEALED,
    COUNTERS_SAMPLED,
    COUNTERS_WRONG,
    OUTBOX_DAYS,
    OUTBOX_STRAYS,
    UPKEEP_DONE,
    UPKEEP_FAILURES,
)
from events.process import Process, run_process
from events.purging import Purger, wall_clock
from storage.audit import Sealer, fetch_lag, seal_new
from storage.auth_service import AuthService, open_auth_service
from storage.cells import Cell
from storage.counters import Threshold, fetch_next_to_sample, fold, fold_slots, repair, sample
from storage.database import Database
from storage.departures import fetch_departing, settle_follows
from storage.expiries import clear_ended
from storage.inbox import KEPT, forget_had
from storage.notification_retention import Retention, fetch_owners_to_trim, trim_notifications
from storage.outbox import RETENTION
from storage.outbox_days import count_strays, drop_days, make_days
from storage.purges import OWN, Purges
from storage.redis_client import open_redis
from storage.renames import let_lapsed_go, settle_claims
from storage.repeats import forget_expired
from storage.requests import fetch_due_owners, settle_requests_of
from storage.revocations import forget_ended

CLOCKS_DIFFER: Final = dt.timedelta(minutes=1)

LEASE: Final = dt.timedelta(seconds=15)
BATCH: Final = 200
TRIMMED_OWNERS: Final = 20
TRIMMED_ROWS: Final = 1000
SAMPLED_EDGES: Final = 100_000
LOOK_THROUGH_EVERY_S: Final = 600.0
DAYS_EVERY_S: Final = 60.0
_JOB: Final = "upkeep"
_LOG: Final = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """How often a cell is gone over (seconds), how long things stay, and when counters go into slots."""

    every: float = 1.0
    requests_live: dt.timedelta = dt.timedelta(days=30)
    threshold: Threshold = Threshold()  # noqa: RUF009 - frozen
    retention: Retention = Retention()  # noqa: RUF009 - frozen


class Upkeep:
    """Goes over one cell again and again; without a sealer the log is left to others."""

    def __init__(self, database: Database, cell: Cell, pace: Pace, sealer: Sealer | None = None) -> None:
        self._database = database
        self._sealer = sealer
        self._cell = cell
        self._pace = pace
        self._sampled = 0
        self._look_through_at = 0.0
        self._days_at = 0.0

    async def run(self) -> None:
        """Work until cancelled; whatever fails is tried again, after a growing pause."""
        lease = Lease(self._cell, _JOB, LEASE)
        await run_leased(lease, self.go_over, every=self._pace.every, failures=UPKEEP_FAILURES)

    async def go_over(self) -> None:
        """Do one batch of everything."""
        now = dt.datetime.now(dt.UTC)
        live = self._pace.requests_live
        ended = await clear_ended(self._database, self._cell, now, requests_live=live, limit=BATCH)
        UPKEEP_DONE.labels("ended").inc(ended)
        for owner_id in await fetch_due_owners(self._cell, BATCH):
            settled = await settle_requests_of(self._database, owner_id, now, limit=BATCH)
            UPKEEP_DONE.labels("requests").inc(settled)
        for user_id in await fetch_departing(self._cell, BATCH):
            UPKEEP_DONE.labels("departed").inc(await settle_follows(self._database, user_id, now, limit=BATCH))
        await self._trim(now)
        if self._cell is self._database.shards.directory:
            UPKEEP_DONE.labels("names").inc(await settle_claims(self._database, now, limit=BATCH))
            UPKEEP_DONE.labels("former names").inc(await let_lapsed_go(self._database, now, limit=BATCH))
        await forget_had(self._cell, now - KEPT)
        await forget_ended(self._cell, now - CLOCKS_DIFFER)
        await forget_expired(self._cell, now)
        await self._fold()
        await self._compare_counters()
        await self._keep_days()
        await self._seal()

    async def _trim(self, now: dt.datetime) -> None:
        retention = self._pace.retention
        for owner_id in await fetch_owners_to_trim(self._cell, retention, now, TRIMMED_OWNERS):
            gone = await trim_notifications(self._database, owner_id, retention, now, limit=TRIMMED_ROWS)
            UPKEEP_DONE.labels("notifications").inc(gone)

    async def _fold(self) -> None:
        if time.monotonic() >= self._look_through_at:
            self._look_through_at = time.monotonic() + LOOK_THROUGH_EVERY_S
            folded = await fold(self._cell, self._pace.threshold, limit=BATCH)
        else:
            folded = await fold_slots(self._cell, self._pace.threshold, limit=BATCH)
        UPKEEP_DONE.labels("folded").inc(folded)

    async def _compare_counters(self) -> None:
        """Compare the next people's counters with their edges, round and round, and mend what is wrong."""
        user_ids = await fetch_next_to_sample(self._cell, after=self._sampled, limit=BATCH, edges=SAMPLED_EDGES)
        self._sampled = user_ids[-1] if user_ids else 0  # before they are counted: nobody can hold the round up
        samples = await sample(self._cell, user_ids)
        COUNTERS_SAMPLED.inc(len(samples))
        wrong = [found.user_id for found in samples if not found.is_right]
        if wrong:
            mended = await repair(self._cell, wrong)
            for user_id in wrong:
                await self._database.freshness.pair_changed(user_id, user_id, stricter=False)
            COUNTERS_WRONG.inc(mended)
            _LOG.error("cell %d: %d counters were wrong and are mended", self._cell.number, mended)

    async def _seal(self) -> None:
        """Seal what is new in the audit log; the more there is, the more of it at a time."""
        if self._sealer is not None:
            UPKEEP_DONE.labels("sealed").inc(await seal_new(self._cell, self._sealer))
            AUDIT_UNSEALED.labels(self._cell.number).set(await fetch_lag(self._cell))

    async def _keep_days(self) -> None:
        """Make the outbox's next days, and drop those that are old and published."""
        if time.monotonic() < self._days_at:
            return
        self._days_at = time.monotonic() + DAYS_EVERY_S
        OUTBOX_DAYS.labels("made").inc(await make_days(self._cell))
        OUTBOX_DAYS.labels("dropped").inc(await drop_days(self._cell, RETENTION))
        strays = await count_strays(self._cell)
        OUTBOX_STRAYS.labels(self._cell.number).set(strays)
        if strays:
            _LOG.error(
                "cell %d: %d facts are of days that no part of the outbox was made for", self._cell.number, strays
            )


async def _main(process: Process) -> None:
    sealer = Sealer(process.keys.audit_seals)
    async with (
        process.open_vault() as vault,
        open_redis(process.addresses.redis_url) as redis,
        _open_accounts(process) as accounts,
        asyncio.TaskGroup() as group,
    ):
        purges = Purges(process.database, redis, CertificateSigner(process.keys.certificates), _consumers(process))
        ahead = dt.timedelta(days=process.settings.days_ahead)
        for cell in process.database.shards.cells:
            group.create_task(Upkeep(process.database, cell, Pace(), sealer).run())
            group.create_task(ExportWorker(process.database, vault, accounts, cell).run())
            folder = process.settings.certificates
            group.create_task(Purger(purges, cell, clock=lambda: wall_clock() + ahead, folder=folder).run())


def _open_accounts(process: Process) -> AbstractAsyncContextManager[AuthService]:
    settings = process.settings
    issuer = settings.identity_url or settings.auth_issuer
    return open_auth_service(issuer, settings.identity_internal_url, process.keys.commands)


def _consumers(process: Process) -> tuple[str, ...]:
    return (OWN, *process.settings.erasure_consumers)


if __name__ == "__main__":
    run_process(_main)
