"""The keys that sign tokens: one signs, the next is published before its time, those before until their tokens end."""

import dataclasses
import datetime as dt
import json
from typing import Any, Final

from joserfc.jwk import ECKey

from identity.database import Connection, Record
from identity.events import write_event
from identity.secret_values import open_box, seal_box

ALGORITHM: Final = "ES256"
TOKENS_END: Final = dt.timedelta(hours=1)
"""How long a key is published after it signed its last token: those live ten minutes, caches a little longer."""
KNOWN_AFTER: Final = dt.timedelta(minutes=10)
"""How long a key is published before it signs: everybody who checks tokens has fetched it by then."""

_CURRENT: Final = "SELECT kid, box FROM signing_keys WHERE state = 'CURRENT'"
_PUBLISHED: Final = "SELECT public_jwk FROM signing_keys ORDER BY created_at DESC, kid"
_ADD: Final = """
INSERT INTO signing_keys (kid, state, public_jwk, box, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
"""
_NEXT: Final = "SELECT kid, created_at FROM signing_keys WHERE state = 'NEXT' FOR UPDATE"
_RETIRE: Final = "UPDATE signing_keys SET state = 'RETIRED', retired_at = $1 WHERE state = 'CURRENT'"
_PROMOTE: Final = "UPDATE signing_keys SET state = 'CURRENT' WHERE kid = $1"
_WITHDRAW: Final = "DELETE FROM signing_keys WHERE state = 'RETIRED' AND retired_at <= $1"


class TooSoon(Exception):
    """The next key is published too recently for everybody who checks tokens to know it."""


@dataclasses.dataclass(slots=True)
class SigningKeys:
    """Keys of the database, the private halves encrypted under `secret`."""

    secret: bytes = dataclasses.field(repr=False)
    _open: dict[str, ECKey] = dataclasses.field(default_factory=dict, repr=False)

    async def ensure(self, connection: Connection, now: dt.datetime) -> None:
        """Make the key that signs and the next one, where there are none."""
        for state in ("CURRENT", "NEXT"):
            await self._add(connection, state, now)

    async def current(self, connection: Connection) -> ECKey:
        """Give the key that signs now."""
        row = await connection.fetchrow(_CURRENT)
        if row is None:
            raise LookupError("no key signs")
        if row["kid"] not in self._open:
            self._open = {row["kid"]: self._unseal(row)}
        return self._open[row["kid"]]

    async def published(self, connection: Connection) -> list[dict[str, Any]]:
        """Give the public halves of all keys that count, as JWKs."""
        return [json.loads(row["public_jwk"]) for row in await connection.fetch(_PUBLISHED)]

    async def rotate(self, connection: Connection, now: dt.datetime, *, at_once: bool = False) -> str:
        """Let the next key sign, publish another for the time after, and withdraw those whose tokens have ended.

        Give the name of the key that signs from now on. To be called in a transaction.

        Raises:
            TooSoon: the next key is not known everywhere yet; `at_once` is for when the current one was stolen.
        """
        row = await connection.fetchrow(_NEXT)
        if row is None:
            raise LookupError("there is no next key")
        if not at_once and now - row["created_at"] < KNOWN_AFTER:
            raise TooSoon
        await connection.execute(_RETIRE, now)
        await connection.execute(_PROMOTE, row["kid"])
        await connection.execute(_WITHDRAW, now if at_once else now - TOKENS_END)
        await self._add(connection, "NEXT", now)
        await write_event(connection, "signing_key.rotated", what=row["kid"])
        kid: str = row["kid"]
        return kid

    async def _add(self, connection: Connection, state: str, now: dt.datetime) -> None:
        key = ECKey.generate_key("P-256", private=True, auto_kid=True)
        private = json.dumps(key.as_dict(private=True)).encode()
        public = {**key.as_dict(private=False), "use": "sig", "alg": ALGORITHM}
        box = seal_box(self.secret, private, f"signing_keys.box of {key.kid}")
        await connection.execute(_ADD, key.kid, state, json.dumps(public), box, now)

    def _unseal(self, row: Record) -> ECKey:
        private = open_box(self.secret, row["box"], f"signing_keys.box of {row['kid']}")
        return ECKey.import_key(json.loads(private))
