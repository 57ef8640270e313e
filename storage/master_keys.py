"""Master keys, which wrap the keys of people: the small face of whatever keeps them."""

import os
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12


class Unreadable(Exception):
    """What is encrypted cannot be read: it was changed, moved, or its key is gone."""


class Wrapped(NamedTuple):
    """A key as a master key has encrypted it, and the version of that one."""

    wrapped: bytes
    version: int


class MasterKeys(Protocol):
    """A keeper of master keys, by version: a file, or a key management service.

    What it wraps is bound to its version and to the context that is given.
    """

    async def newest(self) -> int:
        """Give the version under which keys are wrapped now."""

    async def wrap(self, key: bytes, context: bytes) -> Wrapped:
        """Encrypt a key under the newest master key, bound to a context."""

    async def unwrap(self, wrapped: bytes, version: int, context: bytes) -> bytes:
        """Decrypt a key that was wrapped under a version; raises Unreadable."""


class LocalMasterKeys:
    """Master keys that this process holds itself, 32 bytes each."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys = {version: AESGCM(key) for version, key in keys.items()}
        self._newest = max(keys)

    async def newest(self) -> int:
        """Give the version under which keys are wrapped now."""
        return self._newest

    async def wrap(self, key: bytes, context: bytes) -> Wrapped:
        """Encrypt a key under the newest master key, bound to a context."""
        nonce = os.urandom(_NONCE_BYTES)
        bound = _bound(context, self._newest)
        return Wrapped(nonce + self._keys[self._newest].encrypt(nonce, key, bound), self._newest)

    async def unwrap(self, wrapped: bytes, version: int, context: bytes) -> bytes:
        """Decrypt a key that was wrapped under a version; raises Unreadable."""
        master = self._keys.get(version)
        if master is None:
            raise Unreadable
        try:
            return master.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _bound(context, version))
        except InvalidTag:
            raise Unreadable from None


def _bound(context: bytes, version: int) -> bytes:
    return context + f" under {version}".encode()
