"""Where the auth service's database is: at the address that is set, or in development beside the first cell."""

from embedded.configured import find_addresses
from identity.database import beside
from settings import Settings


def find_dsn(settings: Settings) -> str:
    """Give the database's address, secrets included, or print what to do and leave with status 2."""
    if settings.identity_address is not None:
        return settings.identity_address
    return beside(find_addresses(settings).postgres_dsns[0])
