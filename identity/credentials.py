"""What credentials are checked with, opened once: the pool of hashes, the list of bad passwords, the limits."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Final

from domain.digests import Digests
from domain.probes import Ping
from identity.limits import Limits
from identity.passwords import Blocklist, Effort, Passwords
from identity.user_service import UserService, open_user_service
from keys import Keys
from settings import Settings, SettingsError
from storage.rate_windows import RateWindows
from storage.redis_client import open_redis

_NOWHERE: Final = "unix:///nonexistent"


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """Hashes, judges, counts; `mails` is rung when a mail was queued, and `users` knows which names are to be had.

    `ping` asks Redis for a sign of life; without it limits count in this process alone.
    """

    passwords: Passwords
    blocklist: Blocklist
    limits: Limits
    mails: asyncio.Event
    ping: Ping
    users: UserService | None = None


@contextlib.asynccontextmanager
async def open_credentials(settings: Settings, keys: Keys, effort: Effort | None = None) -> AsyncIterator[Credentials]:
    """Open them; raises SettingsError where the operator's list of passwords cannot be read."""
    try:
        blocklist = Blocklist(settings.password_blocklist)
    except (OSError, ValueError):
        raise SettingsError("KITH_PASSWORD_BLOCKLIST is a file of passwords, one a line; it cannot be read.") from None
    async with open_redis(_redis_of(settings)) as redis, contextlib.AsyncExitStack() as stack:
        passwords, windows = Passwords(effort), RateWindows(redis)
        stack.callback(passwords.close)
        stack.push_async_callback(windows.close)
        limits = Limits(windows, Digests(keys.rate_limits), settings.enforces_limits)
        users = None
        if settings.internal_url is not None:
            users = await stack.enter_async_context(open_user_service(settings.internal_url, keys.commands))
        yield Credentials(passwords, blocklist, limits, asyncio.Event(), redis.ping, users)


def _redis_of(settings: Settings) -> str:
    """Give the address that is set; without one, limits count in this process alone."""
    return settings.redis_url.get_secret_value() if settings.redis_url is not None else _NOWHERE
