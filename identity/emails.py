"""E-mail addresses: never stored as they are. A keyed digest finds one, and the key of its owner opens it."""

import dataclasses
import hashlib
import hmac
import unicodedata
from uuid import UUID

from storage.vault import Vault, WrappedKey

_COLUMN = "email_box"


def normalised(address: str) -> str:
    """Give the one form of an address by which its owner is found: NFKC, no case, no space around."""
    return unicodedata.normalize("NFKC", address).strip().casefold()


@dataclasses.dataclass(frozen=True, slots=True)
class SealedEmail:
    """An address as it is stored: encrypted under its owner's key, which is wrapped by a master key."""

    box: bytes
    wrapped_key: bytes
    master_version: int


@dataclasses.dataclass(frozen=True, slots=True)
class Emails:
    """Digests, encrypts and decrypts addresses."""

    vault: Vault
    key: bytes = dataclasses.field(repr=False)

    def digest(self, address: str) -> bytes:
        """Give the digest by which an address is found, 32 bytes."""
        return hmac.digest(self.key, normalised(address).encode(), hashlib.sha256)

    async def seal(self, table: str, owner: UUID, address: str) -> SealedEmail:
        """Encrypt an address for the row of an owner, under a new key."""
        wrapped = await self.vault.make(owner.int)
        opened = await self.vault.open(wrapped)
        return SealedEmail(opened.encrypt(table, _COLUMN, address), wrapped.wrapped, wrapped.master_version)

    async def open(self, table: str, owner: UUID, sealed: SealedEmail) -> str:
        """Decrypt the address of an owner.

        Raises:
            Unreadable: it was changed, or written for another table or owner.
        """
        opened = await self.vault.open(WrappedKey(owner.int, sealed.wrapped_key, sealed.master_version))
        return opened.decrypt(table, _COLUMN, sealed.box)
