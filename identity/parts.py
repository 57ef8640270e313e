"""What the auth service works with, opened once and handed to everybody who adds routes or tasks."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping

from identity.clients import Client, load_clients
from identity.credentials import Credentials, open_credentials
from identity.database import Database, open_database
from identity.emails import Emails
from identity.sessions import Cookie
from identity.signing_keys import SigningKeys
from keys import Keys, load_keys, load_master_keys
from settings import Settings
from storage.key_service import KeyServiceAddress, open_master_keys
from storage.vault import Vault


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What requests and tasks are done with; `url` is the service's address as browsers see it, and its issuer.

    `console` is a terminal on which mails are shown in development.
    """

    settings: Settings
    url: str
    database: Database
    vault: Vault
    emails: Emails
    keys: Keys = dataclasses.field(repr=False)
    clients: Mapping[str, Client]
    signing_keys: SigningKeys
    cookie: Cookie
    credentials: Credentials
    console: int | None = None
    clock: Callable[[], dt.datetime] = _now


@contextlib.asynccontextmanager
async def open_parts(settings: Settings, dsn: str, url: str, console: int | None = None) -> AsyncIterator[Parts]:
    """Open everything; closed in reverse order."""
    keys, clients = load_keys(settings), load_clients(settings)
    signing_keys = SigningKeys(keys.signing_keys)
    address = KeyServiceAddress.of(*settings.key_service)
    async with (
        open_master_keys(load_master_keys(settings), address) as masters,
        open_database(dsn) as database,
        open_credentials(settings, keys) as credentials,
    ):
        vault = Vault(masters)
        async with database.transaction() as connection:
            await signing_keys.ensure(connection, _now())
        yield Parts(
            settings=settings,
            url=url,
            database=database,
            vault=vault,
            emails=Emails(vault, keys.emails),
            keys=keys,
            clients=clients,
            signing_keys=signing_keys,
            cookie=Cookie(secure=url.startswith("https:")),
            credentials=credentials,
            console=console,
        )
