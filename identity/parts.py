"""What the auth service works with, opened once and handed to everybody who adds routes or tasks."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator

from identity.database import Database, open_database
from identity.emails import Emails
from keys import Keys, load_keys, load_master_keys
from settings import Settings
from storage.master_keys import LocalMasterKeys
from storage.vault import Vault


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What requests and tasks are done with; `url` is the service's address as browsers see it, and its issuer."""

    settings: Settings
    url: str
    database: Database
    vault: Vault
    emails: Emails
    keys: Keys = dataclasses.field(repr=False)


@contextlib.asynccontextmanager
async def open_parts(settings: Settings, dsn: str, url: str) -> AsyncIterator[Parts]:
    """Open everything; closed in reverse order."""
    keys = load_keys(settings)
    vault = Vault(LocalMasterKeys(load_master_keys(settings)))
    async with open_database(dsn) as database:
        yield Parts(settings, url, database, vault, Emails(vault, keys.emails), keys)
