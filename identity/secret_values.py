"""Secrets at rest: tokens as digests alone, keys encrypted and bound to their place."""

import hashlib
import os
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.master_keys import Unreadable

_NONCE_BYTES: Final = 12
_TOKEN_BYTES: Final = 32


def new_secret() -> str:
    """Make a secret for a cookie or a code: 256 random bits in base64url."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def digest(secret: str) -> bytes:
    """Give what is stored in place of a secret; it has 256 bits itself, so a plain digest tells nothing of it."""
    return hashlib.sha256(secret.encode()).digest()


def seal_box(key: bytes, content: bytes, place: str) -> bytes:
    """Encrypt what belongs to one place."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, place.encode())


def open_box(key: bytes, box: bytes, place: str) -> bytes:
    """Decrypt what was encrypted for this place; raises Unreadable."""
    try:
        return AESGCM(key).decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], place.encode())
    except InvalidTag:
        raise Unreadable from None
