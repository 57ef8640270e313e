"""A key management service as the keeper of master keys, spoken to as Vault's and OpenBao's transit engine is.

Master keys never leave it: it wraps and unwraps the keys of people, one small call each, and what was unwrapped is held
by `storage/vault.py` for a minute. So it may be away for that long without anybody noticing, and for longer only by
those whose details are asked for.
"""

import asyncio
import base64
import contextlib
import dataclasses
import logging
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded
from storage.breakers import Breaker, BreakerOpen
from storage.failures import RETRY_AFTER_S
from storage.master_keys import LocalMasterKeys, MasterKeys, Unreadable, Wrapped
from storage.metrics import KEY_CALLS, KEY_SECONDS
from storage.timeouts import AnswerWithin

FIRST: Final = 1_000_000
"""Versions of the service come after all that a file can name: its first is one more than this."""
CALL_TIMEOUT_S: Final = 1.0
MOST_CALLS: Final = 16
_LOG: Final = logging.getLogger(__name__)
_CIPHERTEXT: Final = re.compile(r"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/=]+")
_OK: Final = 200
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_AWAY: Final = (aiohttp.ClientError, TimeoutError, OSError)


@dataclasses.dataclass(frozen=True, slots=True)
class KeyServiceAddress:
    """Where the service is: the address of its engine, the name of the key, and the file that holds our token.

    `ca` is a file with the authorities whose certificates count; those of the system do where there is none.
    """

    engine: str
    key: str
    token_file: Path
    ca: Path | None = None

    @classmethod
    def of(cls, engine: str | None, key: str, token_file: Path | None, ca: Path | None) -> "KeyServiceAddress | None":
        """Make it of what is set; None where no service is."""
        return cls(engine, key, token_file, ca) if engine is not None and token_file is not None else None


class _Away(aiohttp.ClientError):
    """The service answers that it cannot."""


class KeyService:
    """The one way to ask the service: bounded in time and number, and left alone while it fails."""

    def __init__(self, session: aiohttp.ClientSession, address: KeyServiceAddress) -> None:
        self._session = session
        self._address = address
        self._breaker = Breaker("key service")
        self._calls = asyncio.Semaphore(MOST_CALLS)
        self._token: str | None = None

    async def newest(self) -> int:
        """Give the version under which keys are wrapped now; raises Overloaded."""
        _, data = await self._ask("read", "GET", f"keys/{self._address.key}")
        return FIRST + int(data["latest_version"])

    async def wrap(self, key: bytes, context: bytes) -> Wrapped:
        """Have a key encrypted under the newest master key, bound to a context; raises Overloaded."""
        _, data = await self._ask(
            "wrap", "POST", f"encrypt/{self._address.key}", plaintext=key, associated_data=context
        )
        text = str(data["ciphertext"])
        return Wrapped(text.encode(), _version_of(text))

    async def unwrap(self, wrapped: bytes, version: int, context: bytes) -> bytes:
        """Have a key decrypted.

        Raises:
            Unreadable: it was changed, is not of this version, or was wrapped for another context.
            Overloaded: the service does not answer, or does not know us.
        """
        text = wrapped.decode("ascii", "replace")
        if _version_of(text) != version:
            raise Unreadable
        path = f"decrypt/{self._address.key}"
        status, data = await self._ask("unwrap", "POST", path, ciphertext=text, associated_data=context)
        if status == _BAD_REQUEST:
            raise Unreadable
        return base64.b64decode(data["plaintext"])

    async def _ask(
        self, operation: str, method: str, path: str, **fields: bytes | str
    ) -> tuple[int, Mapping[str, Any]]:
        """Give the status, 200 or 400 where that says something, and what was answered."""
        outcome = "ok"
        try:
            async with self._calls:
                with KEY_SECONDS.labels(operation).time(), self._breaker.passing(*_AWAY):
                    async with AnswerWithin(deadlines.left(CALL_TIMEOUT_S)):
                        return await self._send(operation, method, path, fields)
        except (*_AWAY, BreakerOpen) as error:
            outcome = _outcome_of(error)
            raise Overloaded(retryAfter=RETRY_AFTER_S) from error
        except DeadlineExceeded:
            outcome = "late"
            raise
        finally:
            KEY_CALLS.labels(operation, outcome).inc()

    async def _send(
        self, operation: str, method: str, path: str, fields: Mapping[str, bytes | str]
    ) -> tuple[int, Mapping[str, Any]]:
        """Send one request; with a token that the service does not take once more, with what the file holds now."""
        body = {name: _text(value) for name, value in fields.items()} or None
        for is_last in (False, True):
            headers = {"X-Vault-Token": await self._read_token(anew=is_last)}
            sending = self._session.request(method, f"{self._address.engine}/{path}", json=body, headers=headers)
            async with sending as response:
                if response.status == _OK:
                    return _OK, (await response.json())["data"]
                if response.status == _BAD_REQUEST and operation == "unwrap":
                    return _BAD_REQUEST, {}
                if response.status != _FORBIDDEN or is_last:
                    _LOG.error("the key service answers %s with status %d", operation, response.status)
                    raise _Away
        raise _Away

    async def _read_token(self, *, anew: bool) -> str:
        if self._token is None or anew:
            self._token = (await asyncio.to_thread(self._address.token_file.read_text)).strip()
        return self._token


class SuccessiveMasterKeys:
    """The service's master keys, after those that were kept here: what these have wrapped can be opened still."""

    def __init__(self, former: MasterKeys, service: KeyService) -> None:
        self._former = former
        self._service = service

    async def newest(self) -> int:
        """Give the version under which keys are wrapped now."""
        return await self._service.newest()

    async def wrap(self, key: bytes, context: bytes) -> Wrapped:
        """Encrypt a key under the newest master key, bound to a context."""
        return await self._service.wrap(key, context)

    async def unwrap(self, wrapped: bytes, version: int, context: bytes) -> bytes:
        """Decrypt a key that was wrapped under a version; raises Unreadable."""
        keeper = self._service if version > FIRST else self._former
        return await keeper.unwrap(wrapped, version, context)


@contextlib.asynccontextmanager
async def open_master_keys(local: Mapping[int, bytes], address: KeyServiceAddress | None) -> AsyncIterator[MasterKeys]:
    """Open whoever keeps the master keys: this process alone, or a service, which is asked for nothing yet."""
    former = LocalMasterKeys(local)
    if address is None:
        yield former
        return
    context = await asyncio.to_thread(ssl.create_default_context, cafile=address.ca)
    connector = aiohttp.TCPConnector(ssl=context, limit=MOST_CALLS)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield SuccessiveMasterKeys(former, KeyService(session, address))


def _version_of(text: str) -> int:
    found = _CIPHERTEXT.fullmatch(text)
    if found is None:
        raise Unreadable
    return FIRST + int(found[1])


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else base64.b64encode(value).decode()


def _outcome_of(error: BaseException) -> str:
    match error:
        case BreakerOpen():
            return "refused"
        case TimeoutError():
            return "late"
        case _:
            return "lost"
