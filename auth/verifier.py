"""The verifier: an access token in, who it speaks for out; whatever is not exactly right is refused.

Rules of RFC 8725 and RFC 9068, and stricter: an allow-list of asymmetric algorithms, a known `kid`, `typ: at+jwt`, a
known `iss`, exactly our `aud`, `exp`, `nbf` and `iat` present and sane, a `sub` and a `jti`; every name once.
"""

import base64
import binascii
import collections
import dataclasses
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from auth.issuers import Issuer
from auth.jwks import Keys, VerificationKey
from auth.strict_json import read_object
from domain.errors import TokenRejected

MAX_TOKEN_CHARACTERS: Final = 8192
MAX_NAME_CHARACTERS: Final = 255
LEEWAY_S: Final = 5
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_SESSION: Final = re.compile(r"[A-Za-z0-9._~:-]+", re.ASCII)
_REFUSED_HEADERS: Final = frozenset({"crit", "b64", "zip", "jwk", "jku", "x5u", "x5c"})
"""What changes how a token is read, or brings a key of its own."""
_END_OF_TIME: Final = 253_402_300_800  # the year 10000
MAX_REMEMBERED: Final = 25_000
"""How many tokens are remembered, at about 1 KB each."""


class UnknownKey(TokenRejected):
    """The access token is not valid or has expired; get a new one."""

    def __init__(self, keys: Keys) -> None:
        super().__init__()
        self.keys = keys


@dataclasses.dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: the opaque id of the person, its own id, its times (seconds since 1970), and its session.

    `authenticated_at` is when the person last proved to be that person (`auth_time`, OpenID Connect Core 2).
    """

    subject: str
    token_id: str
    issued_at: float
    expires_at: float
    session: str | None = None
    authenticated_at: float | None = None
    scopes: frozenset[str] | None = None
    """What it may be used for; None where the token does not say, and so is for everything."""
    token: bytes = b""
    """The digest under which the verifier remembers it."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Remembered:
    """A token that was found good, and the key that must still be there under this name."""

    claims: Claims
    keys: Keys
    kid: str
    key: VerificationKey

    def holds(self, now: float) -> bool:
        if self.claims.expires_at + LEEWAY_S <= now:
            return False
        key = self.keys.find(self.kid)
        return key is self.key or key == self.key


def digest_of(token: str) -> bytes:
    """Give what a token is known by where it is not kept."""
    return hashlib.sha256(token.encode()).digest()


class Verifier:
    """Checks access tokens; a token that was found good is remembered by its digest until it or its key ends."""

    def __init__(self, issuers: Iterable[Issuer], *, audience: str, clock: Callable[[], float] = time.time) -> None:
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._audience = audience
        self._clock = clock
        self._remembered: collections.OrderedDict[bytes, _Remembered] = collections.OrderedDict()

    async def check(self, token: str) -> Claims:
        """Check a token; where it names a key that is not known, keys are looked for, which may take a moment.

        Raises:
            TokenRejected: for every reason alike.
        """
        try:
            return self.verify(token)
        except UnknownKey as unknown:
            await unknown.keys.refresh()
        return self.verify(token)

    def verify(self, token: str) -> Claims:
        """Check a token with the keys at hand.

        Raises:
            TokenRejected: for every reason alike.
        """
        if len(token) > MAX_TOKEN_CHARACTERS or not _COMPACT.fullmatch(token):
            raise TokenRejected
        digest = digest_of(token)
        found = self._remembered.get(digest)
        if found is None or not found.holds(self._clock()):
            self._remembered.pop(digest, None)
            found = self._remembered[digest] = self._examine(token, digest)
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return found.claims

    def holds(self, digest: bytes) -> bool:
        """Tell whether the token of a digest was found good and is so still."""
        found = self._remembered.get(digest)
        if found is None or not found.holds(self._clock()):
            return False
        self._remembered.move_to_end(digest)
        return True

    def _examine(self, token: str, digest: bytes) -> _Remembered:
        try:
            return self._check(token, digest)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise TokenRejected from error

    def _check(self, token: str, digest: bytes) -> _Remembered:
        signed, _, signature = token.rpartition(".")
        header, claims = (read_object(_decode(segment)) for segment in signed.split("."))
        issuer = self._issuers.get(_name(claims.get("iss")))
        if issuer is None or not _REFUSED_HEADERS.isdisjoint(header) or _name(header.get("typ")).lower() != "at+jwt":
            raise TokenRejected
        kid = _name(header.get("kid"))
        key = issuer.keys.find(kid)
        if key is None:
            raise UnknownKey(issuer.keys)
        _check_signature(signed, _decode(signature), _name(header.get("alg")), key)
        return _Remembered(self._read(claims, issuer, digest), issuer.keys, kid, key)

    def _read(self, claims: Mapping[str, Any], issuer: Issuer, digest: bytes) -> Claims:
        if claims.get("aud") not in (self._audience, [self._audience]):
            raise TokenRejected
        issued_at, not_before, expires_at = (_time(claims.get(name)) for name in ("iat", "nbf", "exp"))
        now = self._clock()
        if max(issued_at, not_before) > now + LEEWAY_S or expires_at + LEEWAY_S <= now:
            raise TokenRejected
        if not 0 < expires_at - min(issued_at, not_before) <= issuer.longest_life or expires_at <= not_before:
            raise TokenRejected
        return Claims(
            subject=_name(claims.get("sub")),
            token_id=_name(claims.get("jti")),
            issued_at=issued_at,
            expires_at=expires_at,
            session=_session(claims["sid"]) if "sid" in claims else None,
            authenticated_at=_time(claims["auth_time"]) if "auth_time" in claims else None,
            scopes=_scopes(claims["scope"]) if "scope" in claims else None,
            token=digest,
        )


def _check_signature(signed: str, signature: bytes, algorithm: str, key: VerificationKey) -> None:
    """Check the signature with one algorithm, which must be one that the key is for; raises JoseError."""
    if algorithm not in key.algorithms:
        raise TokenRejected
    model = JWSRegistry.algorithms[algorithm]
    model.check_key(key.key)
    if not model.verify(signed.encode(), signature, key.key):
        raise TokenRejected


def _decode(segment: str) -> bytes:
    """Decode base64url without padding in its one right form; raises ValueError."""
    try:
        content = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64.urlsafe_b64encode(content).rstrip(b"=").decode() != segment:
        raise ValueError("not in the one form")
    return content


def _name(value: Any) -> str:
    """Read what must be a text, neither empty nor long."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARACTERS:
        raise TokenRejected
    return value


def _session(value: Any) -> str:
    """Read a session's id, which other services are told when it ends: it must have the form that they know."""
    if not _SESSION.fullmatch(name := _name(value)):
        raise TokenRejected
    return name


def _scopes(value: Any) -> frozenset[str]:
    """Read scopes: names with spaces between (RFC 8693, 4.2)."""
    if not isinstance(value, str):
        raise TokenRejected
    return frozenset(value.split(" ")) - {""}


def _time(value: Any) -> float:
    """Read a NumericDate: a number of seconds that the calendar has; true and false are no numbers here."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _END_OF_TIME:
        raise TokenRejected
    return float(value)
