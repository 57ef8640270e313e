"""Consistency tokens: the versions that a mutation produced, and how far the cells had come then, sealed for a reader.

Sealed and not only signed, and never twice the same: a version also counts what the other person does, which a reader
of the token must not learn.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import InvalidInput

PROFILE: Final = "u:"
"""What a version in a token is of: a person's profile and policy, or what the viewer and a person are to each other."""
POSITION: Final = "w:"
"""What stands before a cell's number where a token holds a place in the cell's log, for a replica to have passed."""
PAIR: Final = "p:"
_NONCE_BYTES: Final = 12
_LENGTH: Final = 128


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

    def read(self, token: str) -> dict[str, int]:
        """Read a token.

        Raises:
            InvalidInput: it is none of ours.
        """
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            body = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None).decode().strip()
        except (binascii.Error, InvalidTag, ValueError) as error:
            raise InvalidInput("The consistency token is not one that this service gave.") from error
        versions = (part.rpartition(":") for part in body.split(",") if part)
        return {name: int(version) for name, _, version in versions}
