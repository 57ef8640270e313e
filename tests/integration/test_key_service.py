"""Master keys that a service keeps: it alone wraps and opens, is left alone while it is away, and is turned at will."""

import asyncio
import contextlib
import dataclasses
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from domain.errors import Overloaded
from domain.personal import PersonalDetails
from settings import SettingsError, load
from storage import key_service
from storage.database import Database
from storage.exports import fetch_archive, finish_export, request_export
from storage.key_service import FIRST, KeyServiceAddress, SuccessiveMasterKeys, open_master_keys
from storage.master_keys import LocalMasterKeys, MasterKeys, Unreadable
from storage.metrics import KEY_CALLS
from storage.personal import fetch_details
from storage.rotate_keys import rotate
from storage.vault import Vault
from tests.asking import ask
from tests.conftest import KEY, MakePerson, Person, eventually
from tests.integration.test_personal import EDIT, PHONE, SHOWN

ROOT = Path(__file__).parents[2]
_KEYS = "SELECT wrapped, master_version FROM data_keys WHERE user_id = $1"


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """The service, and how it is asked."""

    process: asyncio.subprocess.Process
    address: KeyServiceAddress

    async def turn(self) -> None:
        """Have it make a new version of its key."""
        headers = {"X-Vault-Token": self.address.token_file.read_text()}
        turning = f"{self.address.engine}/keys/kith/rotate"
        async with aiohttp.ClientSession() as session, session.post(turning, headers=headers) as response:
            assert response.status == 204

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep it from answering."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("keys")
    token = folder / "token"
    token.write_text(secrets.token_hex(16))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.key_service", str(folder), cwd=ROOT)
    address = folder / "address"

    async def is_there() -> bool:
        return address.exists()

    await eventually(is_there, within=120)
    yield Running(process, KeyServiceAddress(address.read_text(), "kith", token))
    process.kill()
    await process.wait()


@pytest.fixture
async def masters(running: Running) -> AsyncIterator[MasterKeys]:
    async with open_master_keys({1: KEY}, running.address) as opened:
        yield opened


def keeping(person: Person, masters: MasterKeys) -> Person:
    return dataclasses.replace(person, backend=dataclasses.replace(person.backend, vault=Vault(masters)))


async def test_details_are_written_and_read_under_a_key_that_the_service_alone_opens(
    database: Database, make_person: MakePerson, masters: MasterKeys
) -> None:
    me = keeping(await make_person(), masters)
    await ask(me.context, EDIT, phone=PHONE)
    shown = await ask(me.context, SHOWN, id=me.opaque_id)
    assert shown["data"]["user"]["phone"] == PHONE
    [row] = await database.shards.home(me.id).fetch(_KEYS, me.id)
    assert row["wrapped"].startswith(b"vault:v")
    assert row["master_version"] > FIRST
    assert await fetch_details(database, Vault(LocalMasterKeys({1: KEY})), [me.id]) == {}


async def test_a_wrapped_key_opens_for_its_own_person_and_version_alone(masters: MasterKeys) -> None:
    vault = Vault(masters)
    made = await vault.make(1)
    await vault.open(made)
    for bad in (
        dataclasses.replace(made, user_id=2),
        dataclasses.replace(made, master_version=made.master_version + 1),
        dataclasses.replace(made, wrapped=made.wrapped[:-6] + b"AAAAA="),
        dataclasses.replace(made, wrapped=b"\xff vault:v1:"),
    ):
        with pytest.raises(Unreadable):
            await vault.open(bad)


async def test_rotation_moves_keys_and_archives_from_here_to_the_service_and_from_version_to_version(
    database: Database, make_person: MakePerson, running: Running, masters: MasterKeys
) -> None:
    me, lines = await make_person(), list[str]()
    await ask(me.context, EDIT, phone=PHONE)
    now = me.context.now
    export = await request_export(database, me.id, now)
    assert export is not None
    await finish_export(database, me.backend.vault, export, b"an archive", now)
    assert isinstance(masters, SuccessiveMasterKeys)
    cell, service = database.shards.home(me.id), masters._service
    try:
        for _ in range(2):
            await rotate(cell, Vault(masters), lines.append)
            newest = await masters.newest()
            [row] = await cell.fetch(_KEYS, me.id)
            assert row["master_version"] == newest
            without_former = Vault(SuccessiveMasterKeys(LocalMasterKeys({1: bytes(32)}), service))
            assert await fetch_details(database, without_former, [me.id]) == {me.id: PersonalDetails(phone=PHONE)}
            assert await fetch_archive(database, without_former, me.id, export.id, now) == b"an archive"
            await running.turn()
        assert any("archives of exports are wrapped" in line for line in lines)
    finally:
        await cell.fetch("DELETE FROM data_keys WHERE master_version > $1", FIRST)
        await cell.fetch("DELETE FROM exports WHERE user_id = $1", me.id)


async def test_a_service_that_does_not_answer_is_left_alone_and_what_was_opened_stays_open(
    make_person: MakePerson, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_master_keys({1: KEY}, running.address) as masters:
        mine, new = keeping(await make_person(), masters), keeping(await make_person(), masters)
        await ask(mine.context, EDIT, phone=PHONE)
        with running.frozen():
            with monkeypatch.context() as patched:
                patched.setattr(key_service, "CALL_TIMEOUT_S", 0.1)
                for _ in range(5):
                    with pytest.raises(Overloaded):
                        await masters.newest()
            refused = KEY_CALLS.labels("wrap", "refused")._value.get()
            answer = await ask(new.context, EDIT, phone=PHONE)
            assert answer["errors"][0]["extensions"]["code"] == "OVERLOADED"
            assert KEY_CALLS.labels("wrap", "refused")._value.get() == refused + 1
            shown = await ask(mine.context, SHOWN, id=mine.opaque_id)
            assert shown["data"]["user"]["phone"] == PHONE

        async def is_back() -> bool:
            answer = await ask(new.context, EDIT, phone=PHONE)
            return "errors" not in answer

        await eventually(is_back, within=60)


async def test_a_token_that_was_replaced_is_read_anew_and_a_wrong_one_opens_nothing(running: Running) -> None:
    token = running.address.token_file
    async with open_master_keys({1: KEY}, running.address) as masters:
        await masters.newest()
        token.write_text(secrets.token_hex(16))
        assert await masters.newest() > FIRST
        wrong = token.with_name("wrong")
        wrong.write_text("wrong")
    async with open_master_keys({1: KEY}, dataclasses.replace(running.address, token_file=wrong)) as masters:
        with pytest.raises(Overloaded):
            await masters.wrap(bytes(32), b"context")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"KITH_KEY_SERVICE_URL": "https://vault/v1/transit"}, "go together"),
        ({"KITH_KEY_SERVICE_URL": "http://vault/v1/transit"}, "KITH_KEY_SERVICE_URL has a bad value"),
    ],
)
def test_an_address_without_a_token_or_without_https_is_refused(given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(given)
