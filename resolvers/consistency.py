"""Consistency tokens: the versions that a mutation produced, sealed, for a reader to present.

Sealed and not only signed, and never twice the same: a version also counts what the other person does, which a reader
of the token must not learn.
"""

import base64
import os
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12
_LENGTH: Final = 64


class ConsistencyTokens:
    """Seals small sets of (what, version)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def issue(self, versions: Mapping[str, int]) -> str:
        """Make a token; those of one person and version all look different, and all have one length."""
        body = ",".join(f"{name}:{version}" for name, version in sorted(versions.items())).encode()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, body.ljust(_LENGTH), None)
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()
