"""Seals: each covers the rows since the one before it, chains their digests to it, and is signed.

Rows stand in the order (transaction, actor, number). Those of transactions below the snapshot horizon are all there, so
that the next seal needs to look at nothing else, and writers wait for nobody. What a row says is digested whole: it
cannot be changed, removed or added below a seal unseen, not even by whoever owns the tables, without the signing key.
"""

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from storage.cells import Cell, Connection, Record

ROWS: Final = 2000
"""How many rows a seal covers at most."""
LEAF_BYTES: Final = 16
_GENESIS: Final = bytes(32)

COLUMNS: Final = """
transaction_id::text AS transaction_id, actor_id, id, at, action, target_id, version, session, before, after
"""

_NEWEST: Final = """
SELECT number, transaction_id::text AS transaction_id, actor_id, row_id, leaves, root, signature, sealed_at
FROM audit_seals
ORDER BY number DESC
LIMIT 1
"""

# Asked by itself: within a statement over many shards each would say its own.
_HORIZON: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon"

_FETCH_NEW: Final = f"""
SELECT {COLUMNS}
FROM audit_logs l
WHERE (l.transaction_id, l.actor_id, l.id) > ($1::text::xid8, $2::bigint, $3::bigint)
  AND l.transaction_id < $4::text::xid8
ORDER BY l.transaction_id, l.actor_id, l.id
LIMIT $5
"""  # noqa: S608 - the columns are ours

_APPEND: Final = """
INSERT INTO audit_seals (number, transaction_id, actor_id, row_id, leaves, root, signature)
VALUES ($1, $2::text::xid8, $3, $4, $5, $6, $7)
"""

_LAG: Final = """
SELECT coalesce(extract(epoch FROM now() - min(n.at)), 0)::float8 AS age
FROM (SELECT l.at FROM audit_logs l
      WHERE (l.transaction_id, l.actor_id, l.id) > ($1::text::xid8, $2::bigint, $3::bigint)
      ORDER BY l.transaction_id, l.actor_id, l.id
      LIMIT 1) n
"""


class Place(NamedTuple):
    """Where a row stands among all of its cell: its transaction as decimal text, its actor, its number."""

    transaction_id: str
    actor_id: int
    row_id: int


START: Final = Place("0", 0, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class Seal:
    """One seal: its number from 1, the place of its last row, a digest for each row, and the root over all before."""

    number: int
    upto: Place
    leaves: bytes
    root: bytes
    signature: bytes
    sealed_at: dt.datetime | None = None


class Sealer:
    """Makes and checks seals, under one Ed25519 key that is made of 32 secret bytes."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key()

    def seal(self, before: Seal | None, rows: Sequence[Record]) -> Seal:
        """Make the next seal, over rows that are not none."""
        number, leaves, upto = (before.number if before else 0) + 1, b"".join(map(leaf_of, rows)), place_of(rows[-1])
        root = _root(before, number, upto, leaves)
        return Seal(number, upto, leaves, root, self._private.sign(root))

    def holds(self, before: Seal | None, seal: Seal) -> bool:
        """Tell whether a seal is ours and follows the one before it."""
        if seal.root != _root(before, seal.number, seal.upto, seal.leaves):
            return False
        try:
            self._public.verify(seal.signature, seal.root)
        except InvalidSignature:
            return False
        return seal.number == (before.number if before else 0) + 1


def _root(before: Seal | None, number: int, upto: Place, leaves: bytes) -> bytes:
    covered = msgspec.msgpack.encode((before.root if before else _GENESIS, number, upto, leaves))
    return hashlib.sha256(covered).digest()


def leaf_of(row: Record) -> bytes:
    """Give the digest of all that a row says."""
    return hashlib.sha256(msgspec.msgpack.encode(tuple(row.values()))).digest()[:LEAF_BYTES]


def place_of(row: Record) -> Place:
    """Give the place of a row."""
    return Place(row["transaction_id"], row["actor_id"], row["id"])


def seal_of(row: Record) -> Seal:
    """Read a seal."""
    upto = Place(row["transaction_id"], row["actor_id"], row["row_id"])
    return Seal(row["number"], upto, row["leaves"], row["root"], row["signature"], row["sealed_at"])


async def seal_new(cell: Cell, sealer: Sealer, *, limit: int = ROWS) -> int:
    """Seal the next rows, `limit` at most; gives how many. Of two who do so at once, one does nothing."""

    async def work(connection: Connection) -> int:
        newest = await connection.fetch(_NEWEST)
        before = seal_of(newest[0]) if newest else None
        [now] = await connection.fetch(_HORIZON)
        rows = await connection.fetch(_FETCH_NEW, *(before.upto if before else START), now["horizon"], limit)
        if rows:
            seal = sealer.seal(before, rows)
            await connection.execute(_APPEND, seal.number, *seal.upto, seal.leaves, seal.root, seal.signature)
        return len(rows)

    try:
        return await cell.transact(work)
    except asyncpg.UniqueViolationError:
        return 0


async def fetch_lag(cell: Cell) -> float:
    """Measure for how long the oldest row has been waiting for its seal, in seconds."""
    newest = await cell.fetch(_NEWEST)
    [row] = await cell.fetch(_LAG, *(seal_of(newest[0]).upto if newest else START))
    return float(row["age"])
