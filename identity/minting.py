"""Tokens are signed here: access tokens for the user service (RFC 9068), ID tokens for applications."""

import dataclasses
import datetime as dt
import secrets
from typing import Final

from joserfc import jwt
from joserfc.jwk import ECKey

from identity.clients import OPENID
from identity.families import Family
from identity.signing_keys import ALGORITHM

LIFE: Final = dt.timedelta(minutes=10)


@dataclasses.dataclass(frozen=True, slots=True)
class Mint:
    """Signs tokens in the name of an issuer, for one audience."""

    issuer: str
    audience: str

    def access_token(self, key: ECKey, family: Family, scope: str, now: dt.datetime) -> str:
        """Sign an access token of a family."""
        issued_at = int(now.timestamp())
        claims = {
            **self._common(family, issued_at),
            "aud": self.audience,
            "nbf": issued_at,
            "jti": secrets.token_urlsafe(16),
            "client_id": family.client_id,
            "scope": scope,
        }
        return jwt.encode(_header(key, "at+jwt"), claims, key)

    def id_token(self, key: ECKey, family: Family, nonce: str | None, now: dt.datetime) -> str | None:
        """Sign an ID token for the application; None where it did not ask for one."""
        if OPENID not in family.scope.split():
            return None
        claims = {**self._common(family, int(now.timestamp())), "aud": family.client_id}
        return jwt.encode(_header(key, "JWT"), claims | ({"nonce": nonce} if nonce is not None else {}), key)

    def _common(self, family: Family, issued_at: int) -> dict[str, object]:
        return {
            "iss": self.issuer,
            "sub": family.subject,
            "sid": str(family.id),
            "iat": issued_at,
            "exp": issued_at + int(LIFE.total_seconds()),
            "auth_time": int(family.authenticated_at.timestamp()),
        }


def _header(key: ECKey, kind: str) -> dict[str, str]:
    return {"alg": ALGORITHM, "typ": kind, "kid": str(key.kid)}
