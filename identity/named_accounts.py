"""Accounts of the named people of development: everybody knows their password, so nowhere else are there any."""

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Final

from identity.accounts import TABLE, Account, fetch_account_by_subject, insert_account
from identity.database import open_database
from identity.emails import Emails
from identity.passwords import Passwords
from keys import load_keys, load_master_keys
from settings import Settings
from storage.master_keys import LocalMasterKeys
from storage.vault import Vault

PASSWORD: Final = "kith-development"  # noqa: S105 - for all to know
DOMAIN: Final = "kith.localhost"


async def seed_accounts(settings: Settings, dsn: str, subjects: Mapping[str, str]) -> None:
    """Make an account `name@kith.localhost` for each person, by the ids that clients know; whoever has one keeps it."""
    emails = Emails(Vault(LocalMasterKeys(load_master_keys(settings))), load_keys(settings).emails)
    async with open_database(dsn) as database, database.transaction() as connection:
        missing = {
            name: subject
            for name, subject in subjects.items()
            if await fetch_account_by_subject(connection, subject) is None
        }
        stored = await _hash() if missing else ""
        for name, subject in missing.items():
            account_id, address = uuid.uuid4(), f"{name}@{DOMAIN}"
            sealed = await emails.seal(TABLE, account_id, address)
            now = dt.datetime.now(dt.UTC)
            await insert_account(connection, Account(account_id, subject, emails.digest(address), sealed, stored, now))


async def _hash() -> str:
    passwords = Passwords()
    try:
        return await passwords.hash(PASSWORD)
    finally:
        passwords.close()
