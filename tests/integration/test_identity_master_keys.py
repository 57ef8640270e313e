"""The master key of what the auth service keeps, rotated while the service goes on."""

import secrets
import uuid
from typing import Final

import pytest

from identity.accounts import TABLE, Account, fetch_account, insert_account
from identity.database import Database
from identity.emails import Emails
from identity.rotate_master_keys import rotate
from storage.master_keys import LocalMasterKeys, Unreadable
from storage.vault import Vault

OLD: Final = b"o" * 32
NEW: Final = b"n" * 32


async def test_after_a_rotation_the_older_master_key_is_needed_no_more(identity: Database) -> None:
    emails, key = Emails(Vault(LocalMasterKeys({41: OLD})), b"e" * 32), secrets.token_bytes(32)
    account_id, address = uuid.uuid4(), f"{secrets.token_hex(8)}@example.org"
    sealed = await emails.seal(TABLE, account_id, address)
    async with identity.transaction() as connection:
        account = Account(account_id, secrets.token_urlsafe(12), Emails(emails.vault, key).digest(address), sealed)
        await insert_account(connection, account)
    said: list[str] = []
    await rotate(identity, Vault(LocalMasterKeys({41: OLD, 42: NEW})), said.append)
    assert (await rotate(identity, Vault(LocalMasterKeys({41: OLD, 42: NEW})), said.append)).done == 0
    async with identity.connection() as connection:
        found = await fetch_account(connection, account_id)
    assert found is not None
    assert found.email.master_version == 42
    assert await Emails(Vault(LocalMasterKeys({42: NEW})), key).open(TABLE, account_id, found.email) == address
    with pytest.raises(Unreadable):
        await Emails(Vault(LocalMasterKeys({41: OLD})), key).open(TABLE, account_id, found.email)
    assert any("accounts" in line for line in said)
