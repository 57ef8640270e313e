"""The export worker: makes the archives that people have asked for, and lets those go whose time is over.

One worker at a time does it for a cell, by a lease of its own: an archive that takes long holds up nothing else.
"""

import asyncio
import datetime as dt
from typing import Final

from events.exporting import make_export
from events.leased import Lease, OneByOne, run_leased
from events.metrics import EXPORTED, EXPORTS_FAILED, EXPORTS_OPEN
from storage.auth_service import AuthService
from storage.cells import Cell
from storage.database import Database
from storage.exports import count_open, expire_exports, fetch_open
from storage.vault import Vault

LEASE: Final = dt.timedelta(seconds=30)
EVERY_S: Final = 1.0
BATCH: Final = 5
WITHIN_S: Final = 3600.0
"""How long one archive may take; one that takes longer is put off, and begun anew."""
_JOB: Final = "exports"


class TooSlow(Exception):
    """An archive has taken more time than it may."""


class ExportWorker:
    """Makes the archives of the people of one cell."""

    def __init__(self, database: Database, vault: Vault, accounts: AuthService, cell: Cell) -> None:
        self._accounts = accounts
        self._database = database
        self._vault = vault
        self._cell = cell
        self._one_by_one = OneByOne(_JOB, EXPORTS_FAILED)

    async def run(self) -> None:
        """Work until cancelled; whatever fails is tried again, after a growing pause."""
        await run_leased(Lease(self._cell, _JOB, LEASE), self.take_turn, every=EVERY_S, failures=EXPORTS_FAILED)

    async def take_turn(self) -> None:
        """Let old archives go, and make some of those that wait, the oldest first."""
        await expire_exports(self._cell, dt.datetime.now(dt.UTC))
        EXPORTS_OPEN.labels(self._cell.number).set(await count_open(self._cell))
        for user_id in await fetch_open(self._cell, BATCH, but=self._one_by_one.put_off):
            await self._one_by_one.attempt(user_id, self._make(user_id))

    async def _make(self, user_id: int) -> None:
        scope = asyncio.timeout(WITHIN_S)
        try:
            async with scope:
                done = await make_export(self._database, self._vault, self._accounts, user_id, dt.datetime.now(dt.UTC))
        except TimeoutError as error:
            if scope.expired():
                raise TooSlow from error
            raise
        EXPORTED.inc(done)
