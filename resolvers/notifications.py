"""The live stream of notifications: read from the database by number, woken through Redis, decided anew each time.

A listener can miss a wake-up, never a row: rows are numbered in the order of their commits, and each turn reads all
that lie behind the last one told.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from domain.notifications import Notification, NotificationKind
from resolvers.context import Context, new_context, require_viewer
from resolvers.delivery import Delivered, cursor_scope, deliver
from resolvers.visibility import meet_one
from storage import notifications

BATCH: Final = 100
POLL_EVERY_S: Final = 5.0
"""How long a wake-up that got lost can delay a notification."""


async def stream(context: Context, kind: NotificationKind, after: str | None) -> AsyncIterator[Delivered]:
    """Tell the viewer's notifications of a kind: first those after the cursor, then each as it comes.

    Raises:
        Unauthenticated: nobody is signed in, or the account is gone meanwhile.
        InvalidInput: the cursor is not one of this viewer's.
    """
    viewer_id = await require_viewer(context)
    async with context.backend.listeners.listen(viewer_id) as bell:
        sequence = await _start(context, viewer_id, after)
        while True:
            bell.clear()
            rows = await notifications.fetch_after(context.database, viewer_id, sequence, BATCH)
            for row in rows:
                sequence = row.sequence
                delivered = await _decide(context, row) if row.kind is kind else None
                if delivered is not None:
                    yield delivered
            if len(rows) < BATCH:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(bell.wait(), POLL_EVERY_S)


async def _start(context: Context, viewer_id: int, after: str | None) -> int:
    if after is None:
        return await notifications.fetch_head(context.database, viewer_id)
    return context.backend.cursors.decode(cursor_scope(viewer_id), after).major


async def _decide(context: Context, row: Notification) -> Delivered | None:
    """Ask the gate anew, with nothing remembered from earlier events; a hidden actor's notification is not told."""
    fresh = new_context(context.backend, context.viewer_id)
    await require_viewer(fresh)
    actor = await meet_one(fresh, row.actor_id)
    return deliver(fresh, row, actor) if actor is not None else None
