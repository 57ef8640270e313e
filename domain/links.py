"""Links that are good for a while, for whoever holds them: what they lead to and until when, under a signature."""

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

_DIGEST_BYTES: Final = 32


class SignedLinks:
    """Makes and reads the tokens of links."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of_nobody(cls) -> "SignedLinks":
        """Make one under a key that is not kept: its links are good in this process alone."""
        return cls(secrets.token_bytes(_DIGEST_BYTES))

    def issue(self, subject: str, expires_at: float) -> str:
        """Make a token for something, good until a time in seconds since 1970."""
        body = f"{int(expires_at)} {subject}".encode()
        return base64.urlsafe_b64encode(self._sign(body) + body).rstrip(b"=").decode()

    def read(self, token: str, now: float) -> str | None:
        """Give what a token is for; None where it is not ours, or its time is over."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            signature, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
            if not hmac.compare_digest(signature, self._sign(body)):
                return None
            expires_at, _, subject = body.decode().partition(" ")
            return subject if now < int(expires_at) else None
        except (binascii.Error, ValueError):
            return None

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._key, b"link " + body, hashlib.sha256)
