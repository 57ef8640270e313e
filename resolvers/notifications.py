"""The live stream of notifications: read from the database by number, woken through Redis, decided anew each time.

A listener can miss a wake-up, never a row: rows are numbered in the order of their commits, and each turn reads all
that lie behind the last one told.
"""

import asyncio
import contextlib
import dataclasses
import functools
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeVar

from domain.errors import CursorExpired, Overloaded, Unauthenticated
from domain.notifications import Notification, NotificationKind
from domain.overflow import OverflowPolicy
from resolvers.backlog import Backlog
from resolvers.context import Context, context_of_event, require_viewer
from resolvers.delivery import Delivered, cursor_scope, deliver
from resolvers.visibility import meet
from storage import notifications

T = TypeVar("T")
PAUSE_S: Final = (0.5, 1.5)
POLL_EVERY_S: Final = 5.0
"""How long a wake-up that got lost can delay a notification."""


async def stream(
    context: Context,
    kinds: frozenset[NotificationKind],
    after: str | None,
    overflow: OverflowPolicy = OverflowPolicy.CLOSE,
) -> AsyncGenerator[Delivered, None]:
    """Tell the viewer's notifications of some kinds: first those after the cursor, then each as it comes.

    Raises:
        Unauthenticated: nobody is signed in, or the account is gone meanwhile.
        InvalidInput: the cursor is not one of this viewer's.
        CursorExpired: some of what followed the cursor is not kept any more.
        FellBehind: the subscriber is too slow, and chose to be told so.
    """
    viewer_id = await require_viewer(context)
    async with context.backend.listeners.listen(viewer_id) as bell:
        backlog = Backlog(context, viewer_id, kinds, overflow, await _start(context, viewer_id, after))
        while True:
            bell.clear()
            more = await _patiently(backlog.refill)
            while (row := await _patiently(backlog.take)) is not None:
                delivered = await _patiently(functools.partial(_decide, context, row))
                if delivered is not None:
                    dropped, backlog.dropped = backlog.dropped, 0
                    yield dataclasses.replace(delivered, dropped=dropped, waiting=len(backlog))
            if not more:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(bell.wait(), POLL_EVERY_S)


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Wait for a cell that does not answer: the subscriber keeps the place, and a new connection would not help."""
    while True:
        try:
            return await work()
        except Overloaded:
            await asyncio.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - it spreads load, and hides nothing


async def _start(context: Context, viewer_id: int, after: str | None) -> int:
    head = await notifications.fetch_head(context.database, viewer_id)
    if after is None:
        return head
    sequence = context.backend.cursors.decode(cursor_scope(viewer_id), after).major
    # A number that was never given out is one of a history that a restored backup does not know.
    if not await notifications.fetch_floor(context.database, viewer_id) <= sequence <= head:
        raise CursorExpired
    return sequence


async def _decide(context: Context, row: Notification) -> Delivered | None:
    """Ask the gate anew, with nothing remembered from earlier events; a hidden actor's notification is not told."""
    fresh = context_of_event(context.backend, context.viewer_id)
    owner, actor = await meet(fresh, [row.owner_id, row.actor_id])
    if owner is None:
        raise Unauthenticated
    return deliver(fresh, row, actor) if actor is not None else None
