"""Checking the audit log against its seals: every row, in order, until the first that is not as it was sealed."""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Final

from storage.audit.seals import COLUMNS, LEAF_BYTES, START, Place, Seal, Sealer, leaf_of, place_of, seal_of
from storage.cells import Cell, Record

_BATCH: Final = 20

_SEALS: Final = """
SELECT number, transaction_id::text AS transaction_id, actor_id, row_id, leaves, root, signature, sealed_at
FROM audit_seals
WHERE number > $1
ORDER BY number
LIMIT $2
"""

_COVERED: Final = f"""
SELECT {COLUMNS}
FROM audit_logs l
WHERE (l.transaction_id, l.actor_id, l.id) > ($1::text::xid8, $2::bigint, $3::bigint)
  AND (l.transaction_id, l.actor_id, l.id) <= ($4::text::xid8, $5::bigint, $6::bigint)
ORDER BY l.transaction_id, l.actor_id, l.id
LIMIT $7
"""  # noqa: S608 - the columns are ours


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a check came to: the newest good seal, how many rows hold, and what is wrong first, if anything is."""

    newest: Seal | None
    rows: int
    fault: str | None = None


async def verify(
    cell: Cell, sealer: Sealer, *, after: Seal | None = None, known: tuple[int, bytes] | None = None
) -> Finding:
    """Check all seals of a cell and all rows that they cover; or only those after a seal that is known to be good.

    `known` is the number and root of a seal that there must be, as somebody else has kept them.
    """
    before, checked = after, 0
    async for seal in _seals(cell, after.number if after is not None else 0):
        if not sealer.holds(before, seal):
            return Finding(before, checked, f"seal {seal.number} is not what was sealed, or one before it is missing")
        if known is not None and seal.number == known[0] and seal.root != known[1]:
            return Finding(before, checked, f"seal {seal.number} is another than the known one")
        rows = await _fetch_covered(cell, before.upto if before else START, seal)
        fault = _compare(rows, seal)
        if fault is not None:
            return Finding(before, checked, f"{fault} (sealed by seal {seal.number}, {seal.sealed_at})")
        before, checked = seal, checked + len(rows)
    if known is not None and (before is None or before.number < known[0]):
        return Finding(before, checked, f"seal {known[0]} is known, and not there any more")
    return Finding(before, checked)


async def _seals(cell: Cell, after: int) -> AsyncIterator[Seal]:
    while rows := await cell.fetch(_SEALS, after, _BATCH):
        for row in rows:
            yield seal_of(row)
        after = rows[-1]["number"]


async def _fetch_covered(cell: Cell, start: Place, seal: Seal) -> list[Record]:
    most = len(seal.leaves) // LEAF_BYTES + 1  # one more shows that there is one too many
    return await cell.fetch(_COVERED, *start, *seal.upto, most)


def _compare(rows: Sequence[Record], seal: Seal) -> str | None:
    """Name the first row that is not as it was sealed."""
    leaves = [seal.leaves[at : at + LEAF_BYTES] for at in range(0, len(seal.leaves), LEAF_BYTES)]
    for index, leaf in enumerate(leaves):
        if index == len(rows):
            return "the last rows are missing"
        found = leaf_of(rows[index])
        if found != leaf:
            return f"{_name(rows[index])} {_what_happened(found, leaf, rows[index + 1 :], leaves[index + 1 :])}"
    return f"{_name(rows[len(leaves)])} was added" if len(rows) > len(leaves) else None


def _what_happened(found: bytes, sealed: bytes, rest: Sequence[Record], leaves: Sequence[bytes]) -> str:
    if found in leaves:
        return "stands where a row before it is missing"
    if rest and leaf_of(rest[0]) == sealed:
        return "was added"
    return "was changed"


def _name(row: Record) -> str:
    place = place_of(row)
    return f"row {place.row_id} of actor {place.actor_id}"
