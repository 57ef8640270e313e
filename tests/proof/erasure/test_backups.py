"""A backup that was made before an erasure is restored: whoever was erased is hidden at once, and erased again."""

import datetime as dt
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.certificates import CertificateSigner
from domain.departures import GRACE
from domain.ids import NodeType, OpaqueIds
from domain.users import UserState
from embedded import Addresses
from storage.cells import open_cells
from storage.database import Database
from storage.deletions import delete_account
from storage.purges import OWN, Purges, acknowledge
from storage.purges.__main__ import reapply
from storage.redis_client import Redis
from storage.users import NewUser, create_user, fetch_state
from tests.conftest import KEY
from tests.proof.erasure.dumps import back_up, drop, dump_text, holds, restore
from tests.proof.erasure.traces import Traced, find_traces, leave_traces, make_traced

LONG = os.environ.get("PROVE") == "long"
SIGNER = CertificateSigner(secrets.token_bytes(32))
pytestmark = pytest.mark.skipif(not LONG, reason="dumps and restores a whole database: make prove")


@pytest.fixture
async def restored(addresses: Addresses) -> AsyncIterator[str]:
    """Give the name of a database that is to be restored, and is gone in the end."""
    name = f"restored_{secrets.token_hex(4)}"
    yield name
    await drop(addresses.postgres_dsns[0], name)


async def purge(database: Database, redis: Redis, person: Traced) -> str:
    """Purge somebody who is due, and give the certificate."""
    later, purges = dt.datetime.now(dt.UTC) + GRACE + dt.timedelta(days=1), Purges(database, redis, SIGNER)
    assert await purges.begin(person.id, later)
    await purges.erase(person.id, later)
    await acknowledge(database, person.id, OWN)
    document = await purges.certify(person.id, later)
    assert document is not None
    await purges.forget(person.id)
    return document


async def test_whom_a_restored_backup_brings_back_is_erased_from_it_again(
    addresses: Addresses, redis: Redis, tmp_path: Path, restored: str
) -> None:
    dsn, now = addresses.postgres_dsns[0], dt.datetime.now(dt.UTC)
    async with open_cells([dsn]) as shards:
        database = Database(shards, OpaqueIds(KEY))
        others = [await create_user(database, NewUser(f"b.{secrets.token_hex(5)}"), cell=0, now=now) for _ in range(5)]
        person = await make_traced(database, 0)
        await leave_traces(database, person, others)
        await back_up(dsn, tmp_path / "backup")
        assert await delete_account(database, person.id, now)
        (tmp_path / "certificates").mkdir()
        (tmp_path / "certificates" / "one.json").write_text(await purge(database, redis, person))
        dump = await dump_text(dsn)
        assert [mark for mark in person.marks if holds(dump, mark)] == []
    again = await restore(dsn, tmp_path / "backup", restored)
    assert holds(await dump_text(again), person.canary), "the backup has brought the person back"
    async with open_cells([again]) as shards:
        database = Database(shards, OpaqueIds(KEY))
        assert await fetch_state(database, person.id) is UserState.ACTIVE
        said: list[str] = []
        assert await reapply(database, SIGNER, tmp_path / "certificates", said.append) == 0
        assert said == ["1 people are there again, and are being purged"]
        assert await fetch_state(database, person.id) is UserState.DELETED
        second = SIGNER.read(await purge(database, redis, person))
        assert second.user_id == database.ids.encode(NodeType.USER, person.id)
        assert await find_traces(database, [person]) == {}
    dump = await dump_text(again)
    assert [mark for mark in person.marks if holds(dump, mark)] == []
