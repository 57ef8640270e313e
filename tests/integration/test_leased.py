"""Work under a lease: renewed beside it, ended where it is lost, and never held up by what fails for one person."""

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator

import pytest

from events import export_worker, exporting
from events.export_worker import ExportWorker
from events.leased import Lease, LeaseLost, run_leased
from events.metrics import PURGES_FAILED
from storage.auth_service import AuthService
from storage.database import Database
from storage.exports import fetch_export, request_export
from storage.vault import Vault
from tests.conftest import MakePerson, eventually

LENGTH = dt.timedelta(minutes=1)
OFTEN = 0.01
LONG_AGO = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
"""Before everybody else whom a test has left behind: those who have waited longest come first."""


@pytest.fixture
async def lease(database: Database) -> AsyncIterator[Lease]:
    made = Lease(database.shards.cells[0], f"test {uuid.uuid4()}", LENGTH, renewed_every=OFTEN)
    yield made
    await made.release()


async def end_of(lease: Lease) -> dt.datetime | None:
    rows = await lease.cell.fetch("SELECT lease_until FROM leases WHERE name = $1", lease.job)
    return rows[0]["lease_until"] if rows else None


async def test_a_lease_is_renewed_while_the_work_goes_on(lease: Lease) -> None:
    assert await lease.claim()
    first = await end_of(lease)
    assert first is not None
    async with lease.kept():

        async def is_renewed() -> bool:
            until = await end_of(lease)
            return until is not None and until > first

        await eventually(is_renewed, within=60)


async def test_work_whose_lease_somebody_else_has_is_ended(lease: Lease) -> None:
    assert await lease.claim()

    async def work() -> None:
        async with lease.kept():
            await lease.cell.fetch("UPDATE leases SET holder = $2 WHERE name = $1", lease.job, uuid.uuid4())
            await asyncio.sleep(3600)

    with pytest.raises(LeaseLost):
        await work()
    await lease.cell.fetch("DELETE FROM leases WHERE name = $1", lease.job)


async def test_a_worker_that_is_stopped_gives_its_lease_back(lease: Lease) -> None:
    began = asyncio.Event()

    async def turn() -> None:
        began.set()
        await asyncio.sleep(3600)

    work = asyncio.create_task(run_leased(lease, turn, every=1.0, failures=PURGES_FAILED))
    async with asyncio.timeout(60):
        await began.wait()
    assert await end_of(lease) is not None
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    assert await end_of(lease) is None


async def test_an_export_that_fails_holds_up_no_other(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, other = await make_person(), await make_person()
    for person in (poisoned, other):
        assert await request_export(database, person.id, LONG_AGO) is not None
    make = exporting.make_export

    async def fails(database: Database, vault: Vault, accounts: AuthService, user_id: int, now: dt.datetime) -> bool:
        if user_id == poisoned.id:
            raise ValueError(poisoned.name)
        return await make(database, vault, accounts, user_id, now)

    monkeypatch.setattr(export_worker, "make_export", fails)
    for cell in database.shards.cells:
        worker = ExportWorker(database, other.backend.vault, AuthService("https://auth.example"), cell)
        await worker.take_turn()
        await worker.take_turn()
    for person, progress in ((poisoned, 0.0), (other, 1.0)):
        found = await fetch_export(database, person.id)
        assert found is not None
        assert found.progress == progress
