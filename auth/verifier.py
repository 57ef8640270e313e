"""The verifier: an access token in, who it speaks for out; whatever is not exactly right is refused.

Rules of RFC 8725 and RFC 9068: an allow-list of asymmetric algorithms, a known `kid`, `typ: at+jwt`, exactly our `iss`
and `aud`, `exp` and `iat` present and sane, a `sub`.
"""

import base64
import collections
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from domain.errors import TokenRejected

ALGORITHMS: Final = ("ES256", "EdDSA", "PS256", "RS256")
MAX_TOKEN_CHARACTERS: Final = 8192
LEEWAY_S: Final = 5
_END_OF_TIME: Final = 253_402_300_800  # the year 10000
_MAX_REMEMBERED: Final = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: the opaque id of the person, when it ends (seconds since 1970), and its session.

    `authenticated_at` is when the person last proved to be that person (`auth_time`, OpenID Connect Core 2).
    """

    subject: str
    expires_at: float
    session: str | None = None
    authenticated_at: float | None = None


class Verifier:
    """Checks access tokens; a token that was found good is remembered by its digest until it ends."""

    def __init__(self, keys: KeySet, *, issuer: str, audience: str, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._known_kids = {key.kid for key in keys.keys}
        self._remembered: collections.OrderedDict[bytes, Claims] = collections.OrderedDict()

    def verify(self, token: str) -> Claims:
        """Check a token.

        Raises:
            TokenRejected: for every reason alike.
        """
        if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
            raise TokenRejected
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._remembered.get(digest)
        if claims is None:
            claims = self._check(token)
            self._remember(digest, claims)
        if claims.expires_at + LEEWAY_S <= self._clock():
            raise TokenRejected
        return claims

    def _remember(self, digest: bytes, claims: Claims) -> None:
        self._remembered[digest] = claims
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def _check(self, token: str) -> Claims:
        try:
            decoded = jwt.decode(token, self._keys, algorithms=list(ALGORITHMS))
            for segment in token.split(".")[:2]:
                _refuse_repeated_names(segment)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise TokenRejected from error
        header, claims = decoded.header, decoded.claims
        if header.get("kid") not in self._known_kids or str(header.get("typ")).lower() != "at+jwt":
            raise TokenRejected
        return self._read(claims)

    def _read(self, claims: Mapping[str, Any]) -> Claims:
        if claims.get("iss") != self._issuer or claims.get("aud") not in (self._audience, [self._audience]):
            raise TokenRejected
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise TokenRejected
        issued_at, not_before = _time(claims.get("iat")), _time(claims.get("nbf", 0))
        expires_at, latest = _time(claims.get("exp")), self._clock() + LEEWAY_S
        if issued_at > latest or not_before > latest or expires_at <= issued_at:
            raise TokenRejected
        session = claims.get("sid")
        authenticated_at = _time(claims["auth_time"]) if "auth_time" in claims else None
        return Claims(subject, expires_at, session if isinstance(session, str) else None, authenticated_at)


def _refuse_repeated_names(segment: str) -> None:
    """Raise ValueError where a header or claim is given twice: two readers could choose differently."""
    raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    json.loads(raw, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name is given twice")
    return names


def _time(value: Any) -> float:
    """Read a NumericDate: a number of seconds that the calendar has; true and false are no numbers here."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _END_OF_TIME:
        raise TokenRejected
    return float(value)
