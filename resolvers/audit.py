"""The owner's own trail: what was done under this account, the newest first.

What was done to people whom the owner neither can meet nor blocks is left out, as they are everywhere: that an entry
has lost its person would tell that somebody is there who hides. They stay on record.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Final

from domain.pages import Page, PageRequest, Position, page_info_of
from privacy.policy import Visible
from resolvers.context import NOBODY, Context
from resolvers.visibility import meet, meet_own_blocks
from storage.audit import AuditEntry, fetch_entries

READS: Final = 5
"""How often a page is refilled for those who are left out; after that it is short, and says that there is more."""


_Known = tuple[AuditEntry, Visible | None]


@dataclasses.dataclass(frozen=True, slots=True)
class ShownEntry:
    """Something that the owner did; `target` is None where it was to nobody, and a stub where the owner blocks him."""

    at: dt.datetime
    action: str
    target: Visible | None
    session_id: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class AuditEdge:
    """An entry and its place."""

    cursor: str
    node: ShownEntry


@dataclasses.dataclass(frozen=True, slots=True)
class AuditPage(Page[AuditEdge]):
    """A page of a trail."""

    @property
    def nodes(self) -> list[ShownEntry]:
        """Give the entries."""
        return [edge.node for edge in self.edges]


async def fetch_trail(context: Context, owner: Visible, request: PageRequest) -> AuditPage:
    """Give a page of what the owner did.

    Raises:
        InvalidInput: the cursor is not of this list and viewer.
    """
    scope = f"{owner.user.id} audit log"
    beyond = context.backend.cursors.decode(scope, request.cursor) if request.cursor is not None else None
    kept, last = await _read(context, owner.user.id, beyond, request)
    page = kept[: request.size]
    shown = page[::-1] if request.backward else page
    cursors = context.backend.cursors.encode(scope, [row.position for row, _ in shown])
    edges = [
        AuditEdge(cursor, ShownEntry(row.at, row.action, target, row.session))
        for cursor, (row, target) in zip(cursors, shown, strict=True)
    ]
    stopped = page[-1][0].position if len(kept) > request.size else last
    far = context.backend.cursors.encode(scope, [stopped])[0] if stopped is not None else None
    return AuditPage(edges, page_info_of(cursors, request, far=far))


async def _read(
    context: Context, owner_id: int, beyond: Position | None, request: PageRequest
) -> tuple[list[_Known], Position | None]:
    """Read entries whose people are known, one more than a page if there is one; and where reading stopped before."""
    kept: list[_Known] = []
    for _ in range(READS):
        limit = request.size + 1 - len(kept)
        rows = await fetch_entries(context.database, owner_id, beyond, downward=not request.backward, limit=limit)
        kept += await _known(context, rows)
        if len(rows) < limit:
            return kept, None
        beyond = rows[-1].position
        if len(kept) > request.size:
            return kept, None
    return kept, beyond


async def _known(context: Context, rows: Sequence[AuditEntry]) -> list[_Known]:
    ids = [row.target_id or NOBODY for row in rows]
    met, blocked = await meet(context, ids), await meet_own_blocks(context, ids)
    shown = ((row, person or stub) for row, person, stub in zip(rows, met, blocked, strict=True))
    return [(row, person) for row, person in shown if person is not None or row.target_id is None]
