"""Coroutines that are begun at once, so that whoever need not wait costs neither a task nor a turn of the loop.

Python 3.12 knows such tasks as eager. Here a coroutine runs until it first has to wait; it then goes on only in the
task that began it, so that time limits and cancellation mean what they always mean.
"""

import functools
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """A coroutine that has begun and waits. Await it once, in the task that began it."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine, waits_for = self._coroutine, self._waits_for
        if waits_for is not None:  # whoever waited for the same future meanwhile has taken the mark away
            waits_for._asyncio_future_blocking = True  # noqa: SLF001 - the protocol between futures and tasks
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - a cancellation, too, is the coroutine's to see
                step = functools.partial(coroutine.throw, error)
            else:
                step = functools.partial(coroutine.send, sent)
            try:
                waits_for = step()
            except StopIteration as end:
                result: T = end.value
                return result


def begin(coroutine: Coroutine[Any, Any, T]) -> T | Begun[T]:
    """Run a coroutine until it ends or first has to wait; what it raises is raised."""
    try:
        waits_for = coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    return Begun(coroutine, waits_for)
