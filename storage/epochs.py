"""Epochs: under which relationship facts hold, and what changed lately, both in Redis.

An epoch is eight random bytes, and every person has two: one for what the person is to others, and one for the profile.
Whatever changes a pair renews the first of both people before it answers, so that nothing that was remembered under the
old ones is used by a read that starts later. Whoever changes a profile or its policy renews the second.

Then the people are listed in a stream, one whose profile has changed or two who are a pair. Every read looks at it
first: processes need no look at the epochs of all whom they show, and may keep in memory what nobody has changed.
"""

import asyncio
import collections
import contextlib
import contextvars
import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple

from domain.relationships import Relationship
from storage.exchanges import Command
from storage.redis_client import CacheUnavailable, Redis

EPOCH_LIVES_S: Final = 86_400
"""Much longer than anything that is remembered under an epoch: an epoch that was lost is never met again."""
_BYTES: Final = 8
_CHANGES: Final = "changes"
_KEPT: Final = 100_000
_PAGE: Final = 1000
_PAGES: Final = 10
"""How far a process reads on before it rather forgets everything: so much has changed since it last looked."""
NOBODY: Final = 0
AT_ONCE: Final = 16
TURN_S: Final = 0.01
"""How long those who are told by calls compute in one turn of the loop, and how many at least: where sockets wait for
longer than that, admission takes it for late, as it is meant to."""
_FIELDS: Final = ("u", "v")

Changed = Callable[[Sequence[int]], None]
"""Is told of one person whose profile has changed, or of two who are a pair."""


class Succession(NamedTuple):
    """One epoch of a person that came right after another, and what the person has been to one other since."""

    user_id: int
    before: bytes
    after: bytes
    other_id: int
    pair: Relationship


Fields = Mapping[bytes, bytes] | Sequence[bytes]
"""What an entry of a stream holds, as a client gives it, or as Redis sends it: names and values by turns."""


def epoch_key(user_id: int) -> str:
    """Name the key of a person's epoch; it lies in one slot with everything else about the person."""
    return f"epoch:{{{user_id}}}"


def profile_epoch_key(user_id: int) -> str:
    """Name the key of the epoch of a person's profile and policy."""
    return f"profile:{{{user_id}}}"


def new_epoch() -> bytes:
    """Make an epoch that was never there."""
    return os.urandom(_BYTES)


def renewals(epochs: Mapping[str, bytes]) -> list[Command]:
    """Give the commands that renew epochs, by their keys, and are answered with those of before."""
    return [("SET", key, epoch, "GET", "EX", EPOCH_LIVES_S) for key, epoch in epochs.items()]


def announcement(people: Sequence[int]) -> list[Command]:
    """Give the command that lists one person whose profile has changed, or two who are a pair, for every process."""
    fields: list[str | int] = [part for field in zip(_FIELDS, people, strict=False) for part in field]
    return [("XADD", _CHANGES, "MAXLEN", "~", _KEPT, "*", *fields)]


class Beat:
    """One look at Redis, shared by all who joined before it began; each is told of its end, in one of two ways."""

    __slots__ = ("_alive", "_calls", "_futures", "viewers")

    def __init__(self) -> None:
        self.viewers: dict[int, bytes] = {}
        self._alive = False
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._futures: list[asyncio.Future[None]] = []

    def epoch_of(self, viewer_id: int | None) -> bytes | None:
        """Give the epoch of a viewer who joined, once it has ended; see `Pulse.read`."""
        if not self._alive:
            return None
        return self.viewers[viewer_id] if viewer_id is not None else b""

    def future(self) -> asyncio.Future[None]:
        """Give what is done when it has ended, to one who may stop waiting for it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures.append(done)
        return done

    def call(self, callback: Callable[[], None]) -> None:
        """Have a callback called when it has ended, by no task, in the order of asking; it raises nothing."""
        self._calls.append(callback)

    def end(self, alive: bool) -> None:  # noqa: FBT001 - the one thing that it tells
        """Tell all who wait whether Redis has answered."""
        self._alive = alive
        for done in self._futures:
            if not done.done():
                done.set_result(None)
        if self._calls:
            asyncio.get_running_loop().call_soon(self._call)

    def _call(self) -> None:
        """Call those who are to be called, a turn of the loop's worth of them: in between, sockets are read."""
        calls, until = self._calls, monotonic() + TURN_S
        try:
            while calls:
                for _ in range(min(AT_ONCE, len(calls))):
                    calls.popleft()()
                if monotonic() >= until:
                    break
        finally:
            if calls:
                asyncio.get_running_loop().call_soon(self._call)


class Pulse:
    """Reads viewers' epochs and the latest changes; whoever asks while Redis is looked at shares the next look.

    The changes are read from the last one known, which must still be there: where it is not, Redis has lost some, or
    there were too many, and everything is forgotten.
    """

    def __init__(self, redis: Redis, changed: Changed, lost: Callable[[], None]) -> None:
        self._redis = redis
        self._changed = changed
        self._lost = lost
        self._last: bytes | None = None
        self._next: Beat | None = None
        self._is_looking = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._nobodys = contextvars.Context()

    async def read(self, viewer_id: int | None) -> bytes | None:
        """Give the viewer's epoch of now (b"" for the anonymous), after whoever changed was forgotten.

        None where Redis does not answer: nothing that is remembered may then be used.
        """
        beat = self.join(viewer_id)
        await beat.future()
        return beat.epoch_of(viewer_id)

    def join(self, viewer_id: int | None) -> Beat:
        """Ask along with the next look, which has not begun: whoever has joined waits for its end."""
        beat = self._next
        if beat is None:
            beat = self._next = Beat()
            asyncio.get_running_loop().call_soon(self._begin)
        if viewer_id is not None:
            beat.viewers[viewer_id] = b""
        return beat

    def restart(self) -> None:
        """Take nothing for known that was read from another server: the next look begins at the newest change."""
        self._last = None

    async def close(self) -> None:
        """Let looks that are under way finish."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        """Begin the look that is waited for; one at a time, so that the busier this is, the more share it."""
        if self._is_looking:
            return
        beat, self._next = self._next, None
        if beat is not None:
            self._is_looking = True
            # Others wait for it than whoever asked first: it is under nobody's deadline.
            task = asyncio.get_running_loop().create_task(self._beat(beat), context=self._nobodys)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _beat(self, beat: Beat) -> None:
        alive = False
        try:
            with contextlib.suppress(CacheUnavailable):  # what it forgets meanwhile shows at the next look
                alive = await self._look(beat)
        finally:
            self._is_looking = False
            beat.end(alive)
            self._begin()

    async def _look(self, beat: Beat) -> bool:
        last = self._last
        *epochs, entries = await _ask(self._redis, list(beat.viewers), last)
        beat.viewers.update(zip(beat.viewers, epochs, strict=True))
        for _ in range(_PAGES):
            if last is None or last is not self._last or not entries or entries[0][0] != last:
                break
            self._apply(entries[1:])
            if len(entries) < _PAGE:
                return True
            last = self._last
            [entries] = await self._redis.exchange([_changes_from(last)])
        await self._start_over()
        return True

    async def _start_over(self) -> None:
        """Begin at the newest change there is; what was read before it was seen is forgotten."""
        self._last = await _find_newest(self._redis)
        self._lost()

    def _apply(self, entries: Sequence[tuple[bytes, Fields]]) -> None:
        for identity, fields in entries:
            self._last = identity
            self._changed(_people_in(fields))


async def _ask(redis: Redis, viewers: Sequence[int], last: bytes | None) -> list[Any]:
    """Give the epochs of viewers, where one has none a new one, and the changes since the last one known."""
    proposed = new_epoch()  # one for all of them: an epoch is only ever compared with others of the same person
    commands: list[Command] = [
        ("SET", epoch_key(viewer_id), proposed, "NX", "GET", "EX", EPOCH_LIVES_S) for viewer_id in viewers
    ]
    *found, entries = await redis.exchange([*commands, _changes_from(last)])
    return [*(epoch or proposed for epoch in found), entries]


def _changes_from(last: bytes | None) -> Command:
    return "XRANGE", _CHANGES, last or "-", "+", "COUNT", _PAGE if last else 1


async def _find_newest(redis: Redis) -> bytes:
    """Give the newest change; where there is none, one that concerns nobody is listed: the loss of all would show."""
    [entries] = await redis.exchange([("XREVRANGE", _CHANGES, "+", "-", "COUNT", 1)])
    newest: bytes = entries[0][0] if entries else (await redis.exchange(announcement([NOBODY])))[0]
    return newest


def _people_in(fields: Fields) -> list[int]:
    return list(map(int, fields.values() if isinstance(fields, Mapping) else fields[1::2]))
