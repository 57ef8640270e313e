"""What the relay holds back: the keys in quarantine of the partitions that it leads, and the rows given up."""

import logging
from collections.abc import Collection
from typing import Final

from events.metrics import QUARANTINED
from storage import outbox_quarantine
from storage.cells import Cell
from storage.outbox import OutboxRow
from storage.outbox_quarantine import Held, Refusal

_LOG: Final = logging.getLogger(__name__)


class HeldKeys:
    """Knows which rows may pass; read again from the database now and then, since operators decide there."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._held: dict[str, Held] = {}
        self._from: dict[str, int] = {}
        self._skipped: frozenset[int] = frozenset()

    async def refresh(self, partitions: Collection[int]) -> None:
        """Read what is held back in some partitions."""
        held = await outbox_quarantine.fetch_held(self._cell, partitions)
        self._skipped = await outbox_quarantine.fetch_skipped(self._cell, partitions)
        self._held = {one.key: one for one in held}
        self._from = {one.key: one.sequence for one in held}
        QUARANTINED.labels(self._cell.number).set(len(held))

    def passes(self, row: OutboxRow) -> bool:
        """Tell whether a row may be published."""
        return row.sequence not in self._skipped and row.sequence < self._from.get(row.key, row.sequence + 1)

    async def refuse(self, refusal: Refusal) -> None:
        """Hold a key from a row on that the broker will never take."""
        await outbox_quarantine.hold(self._cell, [refusal])
        row = refusal.row
        self._from[row.key] = row.sequence
        QUARANTINED.labels(self._cell.number).set(len(self._from))
        _LOG.error(
            "cell %d: event %s (%s) is refused for good: %s. Its key waits for `python -m events.quarantine`",
            self._cell.number,
            row.id,
            row.type,
            refusal.reason,
        )

    def to_retry(self) -> list[Held]:
        """Give the keys that somebody has let go on."""
        return [held for held in self._held.values() if held.retry]

    def let_pass(self, held: Held) -> None:
        """Hold a key back no longer, in the memory of this process: its rows are about to be published."""
        self._held.pop(held.key, None)
        self._from.pop(held.key, None)

    def is_held(self, key: str) -> bool:
        """Tell whether rows of a key are held back."""
        return key in self._from
