"""Which relay publishes which partition of a cell's outbox, and how far each has come."""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from typing import Final

from storage.cells import Cell, Record
from storage.outbox_reading import Position

_MEET: Final = """
WITH seen AS (
    INSERT INTO relay_members (holder, seen_until) VALUES ($1, now() + $2::interval)
    ON CONFLICT (holder) DO UPDATE SET seen_until = excluded.seen_until
), gone AS (
    DELETE FROM relay_members WHERE holder <> $1 AND seen_until < now() - interval '1 minute'
)
SELECT ceil((SELECT count(*) FROM relay_positions)::numeric / (1 + count(*)))::int AS share
FROM relay_members
WHERE holder <> $1 AND seen_until > now()
"""

_OTHERS: Final = "SELECT count(*) AS others FROM relay_members WHERE holder <> $1 AND seen_until > now()"

_LEAVE: Final = "DELETE FROM relay_members WHERE holder = $1"

_RENEW: Final = """
UPDATE relay_positions SET lease_until = now() + $2::interval
WHERE holder = $1 AND lease_until > now()
RETURNING partition
"""

_CLAIM: Final = """
UPDATE relay_positions
SET holder = $1, lease_until = now() + $2::interval
WHERE partition IN (SELECT partition FROM relay_positions WHERE lease_until <= now()
                    ORDER BY partition LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING partition, low::text, high::text, sequence, broker, refeed_from, refeed_to
"""

_RELEASE: Final = """
UPDATE relay_positions SET lease_until = '-infinity' WHERE holder = $1 AND partition = ANY($2::smallint[])
"""

_SAVE: Final = """
UPDATE relay_positions r
SET low = p.low::xid8, high = p.high::xid8, sequence = p.sequence, lease_until = now() + $2::interval
FROM unnest($3::smallint[], $4::text[], $5::text[], $6::bigint[]) AS p (partition, low, high, sequence)
WHERE r.partition = p.partition AND r.holder = $1 AND r.lease_until > now()
RETURNING r.partition
"""

_SAVE_REFEED: Final = """
UPDATE relay_positions SET refeed_from = $3
WHERE partition = $2 AND holder = $1 AND lease_until > now()
RETURNING true
"""

# Who has never fed any broker has nothing to feed again.
_BEGIN_LIFE: Final = """
UPDATE relay_positions r
SET broker = $3, refeed_to = s.last, refeed_from = CASE WHEN r.broker IS NULL THEN 0 ELSE s.last + 1 END
FROM (SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'sequence')::regclass), 0) AS last) s
WHERE r.holder = $1 AND r.lease_until > now() AND r.partition = ANY($2::smallint[])
RETURNING r.partition, r.low::text, r.high::text, r.sequence, r.broker, r.refeed_from, r.refeed_to
"""


@dataclasses.dataclass(slots=True)
class Led:
    """A partition that this relay leads: where it stands, and what is still to be fed to a new life of the broker."""

    number: int
    position: Position
    broker: uuid.UUID | None
    refeed_from: int
    refeed_to: int

    @property
    def is_refed(self) -> bool:
        """Tell whether the broker's present life has had everything that is retained."""
        return self.refeed_from == 0


async def meet(cell: Cell, holder: uuid.UUID, lease: dt.timedelta) -> int:
    """Be counted among the relays that live; gives how many partitions are the share of each."""
    [row] = await cell.fetch(_MEET, holder, lease)
    return int(row["share"])


async def count_others(cell: Cell, holder: uuid.UUID) -> int:
    """Count the other relays that live."""
    return int((await cell.fetch(_OTHERS, holder))[0]["others"])


async def renew(cell: Cell, holder: uuid.UUID, lease: dt.timedelta) -> set[int]:
    """Keep what is held; gives what that still is."""
    return {row["partition"] for row in await cell.fetch(_RENEW, holder, lease)}


async def claim(cell: Cell, holder: uuid.UUID, lease: dt.timedelta, *, limit: int) -> list[Led]:
    """Take partitions that nobody holds, at most `limit`."""
    return [_led(row) for row in await cell.fetch(_CLAIM, holder, lease, limit)]


async def release(cell: Cell, holder: uuid.UUID, numbers: Collection[int]) -> None:
    """Give partitions back, so that the next holder need not wait for the leases to end."""
    await cell.fetch(_RELEASE, holder, list(numbers))


async def leave(cell: Cell, holder: uuid.UUID) -> None:
    """Be counted no longer."""
    await cell.fetch(_LEAVE, holder)


async def save(cell: Cell, holder: uuid.UUID, positions: Mapping[int, Position], lease: dt.timedelta) -> set[int]:
    """Store how far partitions have come; gives those that were still held, and nothing is stored of the others."""
    own = positions.values()
    rows = await cell.fetch(
        _SAVE, holder, lease, list(positions), [p.low for p in own], [p.high for p in own], [p.sequence for p in own]
    )
    return {row["partition"] for row in rows}


async def save_refeed(cell: Cell, holder: uuid.UUID, number: int, refeed_from: int) -> bool:
    """Store how far down a partition has been fed again; False when it is no longer held."""
    return bool(await cell.fetch(_SAVE_REFEED, holder, number, refeed_from))


async def begin_life(cell: Cell, holder: uuid.UUID, numbers: Collection[int], broker: uuid.UUID) -> list[Led]:
    """Have everything that is retained fed again to a broker that knows nothing of it, under its new name."""
    return [_led(row) for row in await cell.fetch(_BEGIN_LIFE, holder, list(numbers), broker)]


def _led(row: Record) -> Led:
    position = Position(row["low"], row["high"], row["sequence"])
    return Led(row["partition"], position, row["broker"], row["refeed_from"], row["refeed_to"])
