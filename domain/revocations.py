"""Tokens that are refused before they end: those of a session, one by itself, or all that somebody had until then."""

import dataclasses
import enum


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """What a token says of itself: whose it is, its id, its session, when it was issued (seconds since 1970), its use.

    Where `scopes` is None, the token says nothing of its use, and is for everything; where `authenticated_at` is, it
    does not say when the person last signed in.
    """

    user_id: int
    token_id: str
    issued_at: float
    session: str | None = None
    scopes: frozenset[str] | None = None
    authenticated_at: float | None = None


class RevocationKind(enum.IntEnum):
    """What a revocation names; the numbers are those of the database."""

    SESSION = 1
    TOKEN = 2
    EARLIER = 3
    """Every token of the person that was issued before."""


@dataclasses.dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens of a person that are refused from now on; `name` is the session's or the token's, else empty.

    After `ends_at` (seconds since 1970) none of them could be alive any more.
    """

    user_id: int
    kind: RevocationKind
    name: str
    revoked_at: float
    ends_at: float

    def covers(self, credentials: Credentials) -> bool:
        """Tell whether a token is refused."""
        if credentials.user_id != self.user_id:
            return False
        if self.kind is RevocationKind.EARLIER:
            return credentials.issued_at < self.revoked_at
        return self.name == (credentials.session if self.kind is RevocationKind.SESSION else credentials.token_id)
