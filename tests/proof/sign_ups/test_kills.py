"""Both services killed by SIGKILL while people sign up: in the end each account has its person, and each person one."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import os
import random
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from domain.ids import NodeType, OpaqueIds
from embedded.configured import find_addresses
from identity.database import beside
from identity.mails import fetch_latest
from identity.parts import Parts, open_parts
from identity.sign_ups import NewSignUp, begin_sign_up, confirm_email
from keys import load_keys
from settings import load
from tests.acceptance.main_job import MainJob, running
from tests.conftest import eventually

LONG = os.environ.get("PROVE") == "long"
PEOPLE = int(os.environ.get("SIGN_UPS", "300"))
KILL_EVERY = 5
_KILLED = ("identity", "web")
_TOKEN = re.compile(r"token=([\w-]+)")
_OPEN = "SELECT (SELECT count(*) FROM sign_ups WHERE state = 'ASKED') + (SELECT count(*) FROM commands)"


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A run of everything, and what the auth service's own processes would work with."""

    job: MainJob
    parts: Parts
    cells: Sequence[str]
    ids: OpaqueIds

    async def sign_up(self, name: str) -> None:
        """Sign up and confirm the address, as the pages do."""
        now, new = dt.datetime.now(dt.UTC), NewSignUp(f"{name}@example.org", name, "$argon2id$not-a-hash")
        async with self.parts.database.transaction() as connection:
            await begin_sign_up(connection, self.parts.emails, new, self.parts.url, now)
            [mail] = await fetch_latest(connection, self.parts.vault, 1)
        found = _TOKEN.search(mail.letter.text)
        assert found is not None
        async with self.parts.database.transaction() as connection:
            assert await confirm_email(connection, found.group(1), now) is not None

    def kill(self, child: str) -> bool:
        """Kill a child of the main job, which starts it again."""
        pid = self.job.children().get(child)
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    async def is_settled(self) -> bool:
        async with self.parts.database.connection() as connection:
            return not await connection.fetchval(_OPEN)

    async def subjects(self, names: Sequence[str]) -> list[str]:
        digests = [self.parts.emails.digest(f"{name}@example.org") for name in names]
        async with self.parts.database.connection() as connection:
            rows = await connection.fetch("SELECT subject FROM accounts WHERE email_digest = ANY($1)", digests)
        return sorted(row["subject"] for row in rows)

    async def people(self, names: Sequence[str]) -> list[str]:
        found = []
        for dsn in self.cells:
            connection = await asyncpg.connect(dsn)
            try:
                found += await connection.fetch("SELECT id FROM users WHERE username = ANY($1)", names)
            finally:
                await connection.close()
        return sorted(self.ids.encode(NodeType.USER, row["id"]) for row in found)


@contextlib.asynccontextmanager
async def everything(folder: Path) -> AsyncIterator[Run]:
    async with running(folder, cells=2) as job:
        settings = load({"KITH_DATA_DIR": str(job.data_dir)})
        addresses = find_addresses(settings)
        known = load({"KITH_DATA_DIR": str(job.data_dir), "KITH_REDIS_URL": addresses.redis_url})
        dsn = beside(addresses.postgres_dsns[0])
        async with open_parts(known, dsn, "http://localhost:8100") as parts:
            yield Run(job, parts, addresses.postgres_dsns, OpaqueIds(load_keys(settings).opaque_ids))


@pytest.mark.skipif(not LONG, reason="the long form: PROVE=long")
async def test_whatever_is_killed_no_account_is_without_its_person_and_no_person_without_account(
    short_folder: Path,
) -> None:
    seed = random.randrange(1 << 32)
    chance, names, kills = random.Random(seed), [f"kill{secrets.token_hex(6)}" for _ in range(PEOPLE)], 0
    async with everything(short_folder / "k") as run:
        for number, name in enumerate(names):
            await run.sign_up(name)
            if number % KILL_EVERY == 0:
                await asyncio.sleep(chance.uniform(0, 0.05))
                kills += run.kill(chance.choice(_KILLED))
                await asyncio.sleep(chance.uniform(0, 1.5))
        await eventually(run.is_settled, within=300)
        subjects = await run.subjects(names)
        sys.stdout.write(f"\n{PEOPLE} sign-ups, {kills} kills, from seed {seed}: {len(subjects)} accounts\n")
        assert len(subjects) == PEOPLE
        assert await run.people(names) == subjects
