"""What a subscriber has still to be told: read ahead by number, bounded, and cut as the subscriber chose.

The rows stay in the database until their turn comes, so that a slow subscriber costs no memory: what is held is one
batch, and that no longer than `FRESH_S`, since what is withdrawn meanwhile is not to be told. A subscriber keeps up who
takes a batch in `PATIENCE_S`; whoever does not, and is more than a batch behind, gets the policy. Catching up after a
cursor is never too slow: that is read at the subscriber's own pace.
"""

import collections
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Final

from domain.errors import FellBehind
from domain.notifications import Notification, NotificationKind
from domain.overflow import OverflowPolicy
from resolvers.context import Context, context_of_event
from resolvers.delivery import encode_cursor
from resolvers.visibility import meet
from storage import notifications

BATCH: Final = 100
PATIENCE_S: Final = 5.0
FRESH_S: Final = 1.0


@dataclasses.dataclass(slots=True)
class Backlog:
    """One subscriber's place in the notifications of a person; everything up to `told_to` is done with."""

    context: Context
    owner_id: int
    kinds: frozenset[NotificationKind]
    overflow: OverflowPolicy
    told_to: int
    dropped: int = 0
    _rows: collections.deque[Notification] = dataclasses.field(default_factory=lambda: collections.deque(maxlen=BATCH))
    _taking: int | None = None
    _read_at: float = 0.0
    _began: float = 0.0
    _taken: int = 0
    _is_live: bool = False

    def __len__(self) -> int:
        """Count the rows that are held."""
        return len(self._rows)

    async def refill(self) -> bool:
        """Read the next batch; tells whether there was a whole one, and so may be more."""
        rows = await self._read()
        self._begin()
        if rows and not self._rows:
            self.told_to = rows[-1].sequence
        return len(rows) == BATCH

    async def take(self) -> Notification | None:
        """Take the next row of the batch, the one before having been told; None where the batch is used up.

        Raises:
            FellBehind: the subscriber is too slow, and chose to be told so.
        """
        if self._taking is not None:
            self.told_to, self._taking = self._taking, None
        await self._look_again()
        if not self._rows:
            return None
        row = self._rows.popleft()
        self._taking = row.sequence
        self._taken += 1
        if self._taken == BATCH:
            self._begin()
        return row

    def _begin(self) -> None:
        self._began, self._taken = time.monotonic(), 0

    async def _look_again(self) -> None:
        """Read anew what has waited for long, and all that lies behind it where the subscriber is slow."""
        now = time.monotonic()
        if self._rows and self._is_live and now - self._began > PATIENCE_S:
            await self._look_ahead()
        elif self._rows and now - self._read_at > FRESH_S:
            await self._read()

    async def _read(self) -> list[Notification]:
        rows = await self._fetch(self.told_to)
        self._rows.clear()
        self._rows.extend(self._wanted(rows))
        self._read_at = time.monotonic()
        self._is_live = self._is_live or len(rows) < BATCH
        return rows

    async def _look_ahead(self) -> None:
        """Read to the end, keep the newest batch, and apply the policy to what does not fit into it.

        Only what the subscriber may see is counted: the number of those dropped must not tell of anybody hidden.
        """
        self._rows.clear()
        behind = 0
        async for row in self._read_on():
            behind += 1
            if behind > BATCH and self.overflow is OverflowPolicy.CLOSE:
                raise FellBehind(resumeAfter=encode_cursor(self.context, self.owner_id, self.told_to))
            self._rows.append(row)
        self._read_at = time.monotonic()
        self._begin()
        if behind > BATCH:
            while self.overflow is OverflowPolicy.COALESCE and len(self._rows) > 1:
                self._rows.popleft()
            self.dropped += behind - len(self._rows)
            self.told_to = self._rows[0].sequence - 1

    async def _read_on(self) -> AsyncIterator[Notification]:
        """Give all that is not told yet, as far as the subscriber may see it."""
        read_to = self.told_to
        while rows := await self._fetch(read_to):
            read_to = rows[-1].sequence
            for row in await self._visible(self._wanted(rows)):
                yield row

    async def _fetch(self, after: int) -> list[Notification]:
        return await notifications.fetch_after(self.context.database, self.owner_id, after, BATCH)

    def _wanted(self, rows: list[Notification]) -> list[Notification]:
        return [row for row in rows if row.kind in self.kinds]

    async def _visible(self, rows: list[Notification]) -> list[Notification]:
        fresh = context_of_event(self.context.backend, self.context.viewer_id)
        actors = await meet(fresh, [row.actor_id for row in rows])
        return [row for row, actor in zip(rows, actors, strict=True) if actor is not None]
