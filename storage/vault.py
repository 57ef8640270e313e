"""The vault: each person has a key, wrapped by a master key, and what is personal is encrypted under it.

AES-256-GCM with a fresh nonce for each value, bound to its table, column and person: a value that is copied to another
place does not open. Keys that were unwrapped are held for a minute, values never.
"""

import collections
import dataclasses
import os
import time
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.master_keys import MasterKeys, Unreadable

KEPT_S: Final = 60.0
MOST_KEPT: Final = 10_000
_FORM: Final = b"\x01"
_NONCE_BYTES: Final = 12
_KEY_BITS: Final = 256


@dataclasses.dataclass(frozen=True, slots=True)
class WrappedKey:
    """A person's key as it is stored, and the version of the master key that opens it."""

    user_id: int
    wrapped: bytes
    master_version: int


@dataclasses.dataclass(frozen=True, slots=True)
class DataKey:
    """A person's key, open."""

    user_id: int
    cipher: AESGCM = dataclasses.field(repr=False)

    def encrypt(self, table: str, column: str, text: str) -> bytes:
        """Encrypt a value for one place."""
        nonce = os.urandom(_NONCE_BYTES)
        return _FORM + nonce + self.cipher.encrypt(nonce, text.encode(), self._place(table, column))

    def decrypt(self, table: str, column: str, sealed: bytes) -> str:
        """Decrypt a value of one place.

        Raises:
            Unreadable: it was changed, or written for another place or person.
        """
        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] != _FORM or len(nonce) < _NONCE_BYTES:
            raise Unreadable
        try:
            return self.cipher.decrypt(nonce, rest, self._place(table, column)).decode()
        except InvalidTag:
            raise Unreadable from None

    def _place(self, table: str, column: str) -> bytes:
        return f"{table}.{column} of {self.user_id} form {_FORM[0]}".encode()


class Vault:
    """Makes and opens the keys of people."""

    def __init__(self, masters: MasterKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._masters = masters
        self._clock = clock
        self._open: collections.OrderedDict[WrappedKey, tuple[float, DataKey]] = collections.OrderedDict()

    async def newest(self) -> int:
        """Give the version of the master key under which keys are wrapped now."""
        return await self._masters.newest()

    async def make(self, user_id: int) -> WrappedKey:
        """Make a key for a person."""
        return await self._wrap(user_id, AESGCM.generate_key(_KEY_BITS))

    async def open(self, key: WrappedKey) -> DataKey:
        """Open a key.

        Raises:
            Unreadable: it was changed, is another person's, or its master key is not there.
        """
        held = self._open.get(key)
        if held is not None and held[0] > self._clock():
            return held[1]
        opened = DataKey(key.user_id, AESGCM(await self._unwrap(key)))
        self._open[key] = self._clock() + KEPT_S, opened
        self._open.move_to_end(key)
        if len(self._open) > MOST_KEPT:
            self._open.popitem(last=False)
        return opened

    async def rewrap(self, key: WrappedKey) -> WrappedKey:
        """Wrap a key anew, under the newest master key; what it encrypts stays as it is."""
        return await self._wrap(key.user_id, await self._unwrap(key))

    async def _wrap(self, user_id: int, plain: bytes) -> WrappedKey:
        return WrappedKey(user_id, *await self._masters.wrap(plain, _context(user_id)))

    async def _unwrap(self, key: WrappedKey) -> bytes:
        return await self._masters.unwrap(key.wrapped, key.master_version, _context(key.user_id))


def _context(user_id: int) -> bytes:
    return f"data_keys of {user_id}".encode()
