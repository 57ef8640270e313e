"""Digests of what was: they prove what a record held to whoever still has it, and tell nobody else anything."""

import hashlib
import secrets

import msgspec

_BYTES = 16


class Digests:
    """Makes digests under one key, without which nobody can try guesses."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of_nobody(cls) -> "Digests":
        """Make one under a key that is not kept, for tools whose digests nobody compares."""
        return cls(secrets.token_bytes(32))

    def of(self, state: object) -> bytes | None:
        """Give the digest of a record, 16 bytes; None where there is none."""
        if state is None:
            return None
        content = msgspec.msgpack.encode(state, order="deterministic")
        return hashlib.blake2b(content, digest_size=_BYTES, key=self._key).digest()
