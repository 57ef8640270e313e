"""Whose tokens count: the configured provider, or in development an issuer of our own and the auth service beside."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from auth.discovery import Publication, is_trustworthy, open_session
from auth.fetched_keys import FetchedKeys
from auth.jwks import Keys, development_keys, keys_of_file
from settings import Settings, SettingsError

LONGEST_LIFE_S: Final = 15 * 60
DEVELOPMENT_LIFE_S: Final = 7 * 24 * 3600
"""How long a development token lives: long enough for a tab that stays open over a weekend."""


@dataclasses.dataclass(frozen=True, slots=True)
class Issuer:
    """Somebody whose tokens count: the `iss`, the keys, and how many seconds a token may live."""

    name: str
    keys: Keys
    longest_life: float = LONGEST_LIFE_S


@dataclasses.dataclass(frozen=True, slots=True)
class Issuers:
    """All of them, and whether their keys are known."""

    all: tuple[Issuer, ...]
    pings: dict[str, Callable[[], Awaitable[None]]] = dataclasses.field(default_factory=dict)

    @property
    def longest_life(self) -> float:
        """Give how many seconds any token may live."""
        return max(issuer.longest_life for issuer in self.all)


def issues_development_tokens(settings: Settings) -> bool:
    """Tell whether tokens of the development issuer count: nowhere but in development without another issuer."""
    return not settings.is_production and "auth_issuer" not in settings.model_fields_set


@contextlib.asynccontextmanager
async def open_issuers(settings: Settings) -> AsyncIterator[Issuers]:
    """Open the issuers that count under these settings.

    Raises:
        SettingsError: keys cannot be read, or would have to be fetched in a way that others could change.
    """
    async with contextlib.AsyncExitStack() as stack:
        if settings.auth_jwks_file is not None:
            yield Issuers((Issuer(settings.auth_issuer, keys_of_file(settings.auth_jwks_file)),))
        elif issues_development_tokens(settings):
            own = Issuer(settings.auth_issuer, development_keys(settings), DEVELOPMENT_LIFE_S)
            if settings.identity_url is None:
                yield Issuers((own,))
            else:
                keys = await _published(stack, "KITH_IDENTITY_URL", settings.identity_url)
                yield Issuers((own, Issuer(settings.identity_url, keys)))
        else:
            keys = await _published(stack, "KITH_AUTH_ISSUER", settings.auth_issuer, settings.auth_jwks_url)
            yield Issuers((Issuer(settings.auth_issuer, keys),), {"issuer": keys.ping})


async def _published(
    stack: contextlib.AsyncExitStack, variable: str, issuer: str, address: str | None = None
) -> FetchedKeys:
    """Fetch an issuer's keys now and then, until the stack closes; raises SettingsError, which names the variable.

    Where somebody on the way could put in other keys, none are fetched.
    """
    if not is_trustworthy(address or issuer):
        name = "KITH_AUTH_JWKS_URL" if address else variable
        raise SettingsError(f"{name} is where keys are fetched; it must be an https:// address.")
    session = await stack.enter_async_context(open_session())
    return await stack.enter_async_context(FetchedKeys(Publication(session, issuer, address).fetch).kept_fresh())
