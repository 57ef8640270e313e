"""Personal details: encrypted in the cells, shown by their owner's policy, remembered nowhere, noise without key."""

import contextlib
import dataclasses
import datetime as dt
import json
import os
import random
import secrets
import uuid
from collections.abc import Sequence
from typing import Any, Final

import pytest

from domain.personal import PersonalDetails
from identity import accounts, mails, sign_ups
from keys import load_master_keys
from settings import SettingsError, load
from storage.database import Database
from storage.master_keys import LocalMasterKeys, Unreadable
from storage.personal import fetch_details
from storage.redis_client import Redis
from storage.rotate_keys import rotate
from storage.vault import Vault, WrappedKey
from tests.asking import ask
from tests.conftest import MakePerson, Person

LONG = os.environ.get("PROVE") == "long"
ENCRYPTIONS = 10_000_000 if LONG else 20_000
SWAPPED = 1000
PLACES = [("personal_details", "phone"), ("personal_details", "birth_date"), ("personal_details", "email")]
EXPORTED = [("exports", "archive")]
SIGNED_UP = [(sign_ups.TABLE, "email_box"), (sign_ups.TABLE, "username_box")]
ACCOUNT = [(accounts.TABLE, "email_box"), ("mail_links", "email_box"), ("totp_factors", "secret_box")]
MAILED = [(mails.TABLE, mails.COLUMN)]
"""Every place of what is encrypted, of both services; each list is under one key of its owner."""
PHONE = "+4930123456"
BORN = dt.date(1990, 2, 28)
EDIT = """mutation($phone: String, $born: Date) {
  updateProfile(input: {phone: $phone, birthDate: $born}) {
    user { phone birthDate profileVersion } userErrors { path message } } }"""
SHOWN = "query($id: ID!) { user(id: $id) { phone birthDate } }"


async def edit(person: Person, **variables: object) -> dict[str, Any]:
    answer = await ask(person.context, EDIT, **variables)
    payload: dict[str, Any] = answer["data"]["updateProfile"]
    return payload


async def stored(database: Database, person: Person) -> list[bytes]:
    statement = "SELECT phone, birth_date FROM personal_details WHERE user_id = $1"
    [row] = await database.shards.home(person.id).fetch(statement, person.id)
    return [value for value in row.values() if value is not None]


async def test_what_is_given_is_shown_to_its_owner_and_to_nobody_else(
    database: Database, make_person: MakePerson
) -> None:
    me, other = await make_person(), await make_person()
    payload = await edit(me, phone="+49 (30) 12-34.56", born=BORN.isoformat())
    assert payload["user"] == {"phone": PHONE, "birthDate": BORN.isoformat(), "profileVersion": 2}
    shown = await ask(me.context, SHOWN, id=me.opaque_id)
    assert shown["data"]["user"] == {"phone": PHONE, "birthDate": BORN.isoformat()}
    hidden = await ask(other.context, SHOWN, id=me.opaque_id)
    assert hidden["data"]["user"] == {"phone": None, "birthDate": None}
    assert all(PHONE.encode() not in value and b"1990" not in value for value in await stored(database, me))


async def test_the_same_again_writes_nothing_and_null_clears(make_person: MakePerson) -> None:
    me = await make_person()
    for _ in range(2):
        payload = await edit(me, phone=PHONE)
        assert payload["user"] == {"phone": PHONE, "birthDate": None, "profileVersion": 2}
    payload = await edit(me, phone=None, born=BORN.isoformat())
    assert payload["user"] == {"phone": None, "birthDate": BORN.isoformat(), "profileVersion": 3}


@pytest.mark.parametrize(
    ("field", "value"),
    [("phone", "12345"), ("phone", "+0123456789"), ("phone", "+49x"), ("phone", "+" + "1" * 16), ("born", "1899-12-31"),
     ("born", (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=2)).isoformat())],
)  # fmt: skip
async def test_what_is_no_phone_number_or_no_birthday_is_refused_by_its_path(
    make_person: MakePerson, field: str, value: str
) -> None:
    me = await make_person()
    payload = await edit(me, **{field: value})
    [error] = payload["userErrors"]
    assert error["path"] == ["input", "phone" if field == "phone" else "birthDate"]
    assert payload["user"] is None


async def test_details_are_neither_in_memory_nor_in_redis(make_person: MakePerson, redis: Redis) -> None:
    me = await make_person()
    await edit(me, phone=PHONE)
    for _ in range(2):
        await ask(me.context, SHOWN, id=me.opaque_id)
    keys = await redis.client.keys("*")
    dumped = [value for key in keys if (value := await redis.client.dump(key)) is not None]
    assert not any(PHONE.encode() in value for value in dumped)
    assert PHONE not in repr(me.backend.caches.memory.__dict__)


def vault(*versions: int) -> Vault:
    return Vault(LocalMasterKeys({version: version.to_bytes(32) for version in versions}))


async def test_a_value_opens_only_in_its_own_place_and_whole() -> None:
    keys = vault(1)
    one, other = await keys.open(await keys.make(1)), await keys.open(await keys.make(2))
    sealed = one.encrypt("personal_details", "phone", PHONE)
    assert one.decrypt("personal_details", "phone", sealed) == PHONE
    changed = [bytes([*sealed[:n], sealed[n] ^ 1, *sealed[n + 1 :]]) for n in range(len(sealed))]
    for key, table, column, value in (
        (other, "personal_details", "phone", sealed),
        (one, "personal_details", "birth_date", sealed),
        (one, "personal_details", "email", sealed),
        (one, "users", "phone", sealed),
        *((one, "personal_details", "phone", value) for value in [*changed, b"", sealed[:5], sealed[:-1]]),
    ):
        with pytest.raises(Unreadable):
            key.decrypt(table, column, value)


async def test_a_key_that_is_given_to_another_person_or_changed_does_not_open() -> None:
    keys = vault(1)
    made = await keys.make(1)
    for bad in (
        type(made)(2, made.wrapped, 1),
        type(made)(1, made.wrapped, 2),
        type(made)(1, made.wrapped[:-1] + bytes([made.wrapped[-1] ^ 1]), 1),
    ):
        with pytest.raises(Unreadable):
            await keys.open(bad)


async def test_no_nonce_is_used_twice() -> None:
    keys = vault(1)
    key = await keys.open(await keys.make(1))
    seen: list[set[bytes]] = [set() for _ in range(256)]
    for _ in range(ENCRYPTIONS):
        nonce = key.encrypt("t", "c", "")[1:13]
        seen[nonce[0]].add(nonce[1:])
    assert sum(map(len, seen)) == ENCRYPTIONS


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A value as it is stored: whose, in which place, under which key as wrapped by which master key."""

    owner: int
    table: str
    column: str
    wrapped: bytes
    master_version: int
    box: bytes

    async def opened(self, keys: Vault) -> str:
        """Open it where it stands."""
        key = await keys.open(WrappedKey(self.owner, self.wrapped, self.master_version))
        return key.decrypt(self.table, self.column, self.box)


async def store_all(keys: Vault, owner: int, places: Sequence[tuple[str, str]]) -> list[Stored]:
    """Store a value in places of one owner, under one key."""
    made = await keys.make(owner)
    key = await keys.open(made)
    return [
        Stored(owner, *place, made.wrapped, made.master_version, key.encrypt(*place, f"{owner} {place}"))
        for place in places
    ]


SWAPS: Final = (("box",), ("box", "wrapped", "master_version"), ("wrapped", "master_version"), ("master_version",))
"""What is taken from another value: what is encrypted, the key with it, the key alone, or the version of its master."""


async def test_of_a_thousand_values_that_were_swapped_none_opens() -> None:
    both, chance, opened = vault(1, 2), random.Random(8), list[tuple[Stored, Stored]]()
    values = [
        value
        for number in range(10)
        for owner in (number, uuid.UUID(int=number, version=4).int)
        for places in (PLACES, EXPORTED, SIGNED_UP, ACCOUNT, MAILED)
        for value in await store_all(vault(1) if chance.random() < 0.5 else both, owner, places)
    ]
    assert [await value.opened(both) for value in values] == [f"{v.owner} {(v.table, v.column)}" for v in values]
    swapped = 0
    while swapped < SWAPPED:
        here, there = chance.sample(values, 2)
        taken = {name: getattr(there, name) for name in chance.choice(SWAPS)}
        moved = dataclasses.replace(here, **taken)
        if moved == here:
            continue
        swapped += 1
        with contextlib.suppress(Unreadable):
            await moved.opened(both)
            opened.append((here, moved))
    assert opened == []


async def test_rotation_wraps_every_key_anew_and_values_stay_readable(
    database: Database, make_person: MakePerson
) -> None:
    me = await make_person()
    await edit(me, phone=PHONE)
    before = await stored(database, me)
    first = me.backend.vault._masters
    assert isinstance(first, LocalMasterKeys)
    second = LocalMasterKeys({1: bytes(32), 7: bytes(32)})
    second._keys[1] = first._keys[1]
    both, lines = Vault(second), list[str]()
    cell = database.shards.home(me.id)
    try:
        assert (await rotate(cell, both, lines.append)).done >= 1
        assert lines[-1].endswith("wrapped under master key 7")
        assert (await rotate(cell, both, lines.append)).done == 0
        assert await stored(database, me) == before
        assert await fetch_details(database, both, [me.id]) == {me.id: PersonalDetails(phone=PHONE)}
        assert await fetch_details(database, Vault(LocalMasterKeys({1: bytes(32)})), [me.id]) == {}
    finally:
        await cell.fetch("DELETE FROM data_keys WHERE master_version = 7")


async def test_without_the_key_nothing_is_left_and_what_was_there_is_not_written_over(
    database: Database, make_person: MakePerson
) -> None:
    me = await make_person()
    await edit(me, phone=PHONE)
    cell = database.shards.home(me.id)
    await cell.fetch("UPDATE data_keys SET wrapped = $2 WHERE user_id = $1", me.id, secrets.token_bytes(60))
    before = await stored(database, me)
    shown = await ask(me.context, SHOWN, id=me.opaque_id)
    assert shown["data"]["user"]["phone"] is None
    answer = await ask(me.context, EDIT, born=BORN.isoformat())
    assert answer["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert PHONE not in json.dumps(answer)
    assert await stored(database, me) == before


def test_master_keys_come_from_the_secret_and_from_the_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("masters")
    file = folder / "masters.json"
    file.write_text(json.dumps({"2": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}))
    found = load_master_keys(load({"KITH_DATA_DIR": str(folder), "KITH_MASTER_KEYS": str(file)}))
    assert (set(found), found[2]) == ({1, 2}, bytes(32))
    for text in ("", "[]", '{"1": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}', '{"2": "short"}', '{"2": 5}'):
        file.write_text(text)
        with pytest.raises(SettingsError, match="KITH_MASTER_KEYS is a JSON file"):
            load_master_keys(load({"KITH_DATA_DIR": str(folder), "KITH_MASTER_KEYS": str(file)}))
