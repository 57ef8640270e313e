"""Requests between our own services: signed with a key that both derive, so that nobody else's are heard.

A signature binds the method, the whole path, the body and the time. One that is sent again within its time is good
again: whatever is asked in this way must have its effect once, however often it is asked for.
"""

import dataclasses
import hashlib
import hmac
import re
from typing import Final

from domain.errors import KithError

HEADER: Final = "Kith-Signature"
WINDOW_S: Final = 60
"""How far the clocks of the two services may be apart, the way of the request included."""
_FORM: Final = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", re.ASCII)


class NotSigned(KithError):
    """Sign the request: `Kith-Signature: t=<seconds since 1970>,v1=<HMAC-SHA256 in hexadecimal>`."""

    code = "UNAUTHENTICATED"


class WronglySigned(NotSigned):
    """The signature is not that of this request under our key."""


class SignedAtAnotherTime(NotSigned):
    """The time of the signature is more than 60 s from ours; compare the clocks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is signed; `path` is the whole target of the request."""

    method: str
    path: str
    body: bytes = dataclasses.field(repr=False)

    def sign(self, key: bytes, at: float) -> str:
        """Give the value of the header for a request that is sent at a time (seconds since 1970)."""
        moment = int(at)
        return f"t={moment},v1={self._mac(key, moment)}"

    def check(self, key: bytes, value: str | None, now: float) -> None:
        """Go on only where the request is signed; raises NotSigned, of the kind that says why."""
        match = _FORM.fullmatch(value or "")
        if match is None:
            raise NotSigned
        moment = int(match.group(1))
        if not hmac.compare_digest(match.group(2), self._mac(key, moment)):
            raise WronglySigned
        if abs(now - moment) > WINDOW_S:
            raise SignedAtAnotherTime

    def _mac(self, key: bytes, moment: int) -> str:
        parts = ("kith internal request 1", self.method, self.path, str(moment), hashlib.sha256(self.body).hexdigest())
        return hmac.new(key, "\n".join(parts).encode(), hashlib.sha256).hexdigest()
