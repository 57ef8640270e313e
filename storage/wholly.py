"""Work that is not left half done: it goes on to its end, whoever no longer waits for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_RUNNING: Final[set["asyncio.Task[Any]"]] = set()


async def wholly(work: Coroutine[Any, Any, T]) -> T:
    """Do work in a task of its own: a caller that is cancelled between a commit and its news does not stop the news."""
    task = asyncio.create_task(work)
    _RUNNING.add(task)
    task.add_done_callback(_end)
    return await asyncio.shield(task)


def _end(task: "asyncio.Task[Any]") -> None:
    _RUNNING.discard(task)
    if not task.cancelled():
        task.exception()  # it may be that nobody waits for it any more
