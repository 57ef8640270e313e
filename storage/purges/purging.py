"""Purging one person: begun once the deletion can no longer be undone, gone on with from wherever it was left."""

import dataclasses
import datetime as dt
import json
import uuid
from collections.abc import Collection, Sequence
from typing import Final

from domain.certificates import Certificate, CertificateSigner, ErasedStore
from domain.events import Event, EventType, UserPayload
from domain.ids import NodeType
from domain.policies import PRESETS, PrivacyPreset, write_policy
from domain.users import UserState
from storage import outbox
from storage.audit import write_audit
from storage.cells import Cell, Connection
from storage.database import Database
from storage.erasures import STORES
from storage.redis_client import Redis
from storage.redis_erasure import erase_in_redis

OWN: Final = "kith"
"""The consumer that this service itself is."""
PROFILE: Final = "profile"
REDIS: Final = "redis"

_DUE: Final = """
SELECT user_id FROM deletions
WHERE restorable_until <= $1 AND NOT user_id = ANY($3::bigint[])
ORDER BY restorable_until
LIMIT $2
"""

_COUNT_DUE: Final = "SELECT count(*) AS due FROM deletions WHERE restorable_until <= $1"

_BEGIN: Final = """
UPDATE deletions SET purging = true WHERE user_id = $1 AND restorable_until <= $2 RETURNING deleted_at
"""

_NOTE: Final = """
INSERT INTO purges (user_id, deleted_at, began_at) VALUES ($1, $2, $3) ON CONFLICT (user_id) DO NOTHING
"""

_ROWS: Final = "SELECT rows::text AS rows FROM purges WHERE user_id = $1"

_NOTE_ROWS: Final = "UPDATE purges SET rows = $2::jsonb WHERE user_id = $1"

# What is left is the tombstone: the id, the state, and when.
_BURY: Final = """
UPDATE users
SET username = '', display_name = NULL, bio = NULL, avatar_url = NULL, pronouns = NULL, location = NULL, links = '[]',
    policy = $2, state = 4, version = version + 1, updated_at = $3
WHERE id = $1 AND state <> 4
RETURNING version
"""

_PURGED: Final = """
UPDATE purges SET purged_at = $2, rows = rows || '{"profile": 1}'::jsonb WHERE user_id = $1
"""

_FORGET_DELETION: Final = "DELETE FROM deletions WHERE user_id = $1"

# The lock keeps the purge from being forgotten before the acknowledgement is there to be forgotten with it.
_ACKNOWLEDGE: Final = """
INSERT INTO acknowledgements (user_id, consumer)
SELECT p.user_id, $2 FROM purges p WHERE p.user_id = $1 FOR SHARE
ON CONFLICT (user_id, consumer) DO NOTHING
"""

_ACKNOWLEDGED: Final = """
SELECT p.user_id
FROM purges p
WHERE p.purged_at IS NOT NULL
  AND NOT p.user_id = ANY($4::bigint[])
  AND (SELECT count(*) FROM acknowledgements a WHERE a.user_id = p.user_id AND a.consumer = ANY($1::text[])) >= $2
ORDER BY p.purged_at
LIMIT $3
"""

_FETCH: Final = "SELECT deleted_at, began_at, purged_at, rows::text AS rows FROM purges WHERE user_id = $1"

_CERTIFY: Final = """
INSERT INTO certificates (id, user_id, document, certified_at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING
"""

_CERTIFICATE: Final = "SELECT document FROM certificates WHERE id = $1"

_CERTIFICATES: Final = "SELECT document FROM certificates WHERE user_id = $1 ORDER BY certified_at"

_FORGET_ACKNOWLEDGEMENTS: Final = "DELETE FROM acknowledgements WHERE user_id = $1"

_FORGET: Final = "DELETE FROM purges WHERE user_id = $1"


@dataclasses.dataclass(frozen=True, slots=True)
class Purges:
    """Purges people, and certifies it once every consumer of `consumers` has acknowledged."""

    database: Database
    redis: Redis
    signer: CertificateSigner
    consumers: Sequence[str] = (OWN,)

    async def begin(self, user_id: int, now: dt.datetime) -> bool:
        """Begin a purge, from which there is no return; False where the account was restored in time."""

        async def work(connection: Connection) -> bool:
            rows = await connection.fetch(_BEGIN, user_id, now)
            if rows:
                await connection.execute(_NOTE, user_id, rows[0]["deleted_at"], now)
            return bool(rows)

        return await self.database.shards.home(user_id).transact(work)

    async def erase(self, user_id: int, now: dt.datetime) -> None:
        """Erase every store of a purge that has begun; may be repeated, and left at any point."""
        noted = await self._fetch_rows(user_id)
        for store in STORES:
            await self._note_rows(user_id, noted, store.name, await store.erase(self.database, user_id))
        await self._bury(user_id, now)
        noted = await self._fetch_rows(user_id)
        await self._note_rows(user_id, noted, REDIS, await erase_in_redis(self.database, self.redis, user_id))

    async def certify(self, user_id: int, now: dt.datetime) -> str | None:
        """Look through every store once more, and give the signed certificate; None where something was found still."""
        found, noted = 0, await self._fetch_rows(user_id)
        for store in STORES:
            rows = await store.erase(self.database, user_id)
            await self._note_rows(user_id, noted, store.name, rows)
            found += rows
        await erase_in_redis(self.database, self.redis, user_id)
        return None if found else await self._certify(user_id, now)

    async def forget(self, user_id: int) -> None:
        """Forget a purge whose certificate is kept."""

        async def work(connection: Connection) -> None:
            await connection.execute(_FORGET, user_id)
            await connection.execute(_FORGET_ACKNOWLEDGEMENTS, user_id)

        await self.database.shards.home(user_id).transact(work)

    async def _fetch_rows(self, user_id: int) -> dict[str, int]:
        """Fetch how many rows each store has lost so far; only whoever has the lease of the purge adds to them."""
        [row] = await self.database.shards.home(user_id).fetch(_ROWS, user_id)
        noted: dict[str, int] = json.loads(row["rows"])
        return noted

    async def _note_rows(self, user_id: int, noted: dict[str, int], store: str, rows: int) -> None:
        if rows or store not in noted:
            noted[store] = noted.get(store, 0) + rows
            await self.database.shards.home(user_id).fetch(_NOTE_ROWS, user_id, json.dumps(noted))

    async def _bury(self, user_id: int, now: dt.datetime) -> None:
        """Leave the tombstone and tell of it, in one transaction; then end what is remembered."""
        policy = write_policy(PRESETS[PrivacyPreset.CLOSED])

        async def work(connection: Connection) -> int | None:
            rows = await connection.fetch(_BURY, user_id, policy, now)
            await connection.execute(_PURGED, user_id, now)
            await connection.execute(_FORGET_DELETION, user_id)
            if not rows:
                return None
            version = int(rows[0]["version"])
            await self._tell(connection, user_id, version)
            return version

        version = await self.database.shards.home(user_id).transact(work)
        await self.database.freshness.user_changed(user_id, stricter=True, version=version or 0)
        await self.database.freshness.pair_changed(user_id, user_id, stricter=False)

    async def _tell(self, connection: Connection, user_id: int, version: int) -> None:
        action = EventType.USER_PURGED.value
        state = {"state": UserState.PURGED.value}
        await write_audit(
            self.database, connection, user_id, action, target_id=None, version=version, before=None, after=state
        )
        opaque = self.database.ids.encode(NodeType.USER, user_id)
        payload = UserPayload(user_id=opaque, user_version=version)
        await outbox.append(connection, [Event(type=EventType.USER_PURGED, actor_id=opaque, payload=payload)])

    async def _certify(self, user_id: int, now: dt.datetime) -> str | None:
        rows = await self.database.shards.home(user_id).fetch(_FETCH, user_id)
        if not rows or rows[0]["purged_at"] is None:
            return None
        purge = rows[0]
        opaque = self.database.ids.encode(NodeType.USER, user_id)
        noted = json.loads(purge["rows"])
        certificate = Certificate(
            id=uuid.uuid5(uuid.NAMESPACE_OID, f"{opaque} {purge['began_at'].isoformat()}"),
            user_id=opaque,
            deleted_at=purge["deleted_at"],
            began_at=purge["began_at"],
            purged_at=purge["purged_at"],
            certified_at=now,
            stores=tuple(ErasedStore(name, text, noted.get(name, 0)) for name, text in STATEMENTS),
            acknowledged_by=tuple(sorted(self.consumers)),
        )
        directory = self.database.shards.directory
        await directory.fetch(_CERTIFY, certificate.id, user_id, self.signer.sign(certificate), now)
        [kept] = await directory.fetch(_CERTIFICATE, certificate.id)
        return str(kept["document"])


STATEMENTS: Final = (
    *((store.name, store.statement) for store in STORES),
    (PROFILE, "users: every field cleared; id, state and time stay as the tombstone"),
    (REDIS, "everything under the person's id deleted; what processes remember ends within 2 s, names within 30 s"),
)


async def fetch_due(cell: Cell, now: dt.datetime, limit: int, *, but: Collection[int] = ()) -> list[int]:
    """Fetch whose time to come back is over, or whose purge was interrupted; some are passed over."""
    return [row["user_id"] for row in await cell.fetch(_DUE, now, limit, list(but))]


async def count_due(cell: Cell, now: dt.datetime) -> int:
    """Count whose purge is due or under way."""
    return int((await cell.fetch(_COUNT_DUE, now))[0]["due"])


async def fetch_acknowledged(
    cell: Cell, consumers: Sequence[str], limit: int, *, but: Collection[int] = ()
) -> list[int]:
    """Fetch who is purged, with the acknowledgements of all these consumers; some are passed over."""
    names = sorted(set(consumers))
    return [row["user_id"] for row in await cell.fetch(_ACKNOWLEDGED, names, len(names), limit, list(but))]


async def acknowledge(database: Database, user_id: int, consumer: str) -> None:
    """Note that a consumer has erased what it kept of a person who is being purged; of nobody else anything."""
    await database.shards.home(user_id).fetch(_ACKNOWLEDGE, user_id, consumer)


async def fetch_certificate(database: Database, certificate_id: uuid.UUID) -> str | None:
    """Fetch a certificate as it was signed."""
    rows = await database.shards.directory.fetch(_CERTIFICATE, certificate_id)
    return str(rows[0]["document"]) if rows else None


async def fetch_certificates_of(database: Database, user_id: int) -> list[str]:
    """Fetch the certificates of one person's erasures: more than one where a backup was restored in between."""
    return [str(row["document"]) for row in await database.shards.directory.fetch(_CERTIFICATES, user_id)]
