"""Guards taken away, one at a time: what the schedules must find."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from unittest import mock

from domain import deadlines
from domain.errors import Overloaded
from domain.hidden_edges import HiddenEdges
from domain.tallies import Blocked
from loaders import batches, caches, hidden_edges, kinds, read_through, stored
from storage import entries, epochs, freshness, generations
from storage.exchanges import Command
from storage.redis_client import CacheUnavailable
from tests.proof.caches import fakes, schedule

Plant = Callable[[], contextlib.AbstractContextManager[Any]]


def _patched(owner: object, name: str, value: object) -> Plant:
    return lambda: mock.patch.object(owner, name, value)


def _epoch_is_not_compared_in_fills(server: fakes.RedisServer, *entry: Any) -> int:
    epoch_key, key, epoch, value, life = entry
    server.put(key, (server.read(epoch_key) or epoch) + value, life / 1000)
    return 1


def _epoch_is_not_compared_in_reads(epoch: bytes, found: bytes | None) -> tuple[bytes, bytes | None]:
    return epoch, found[8:] if found is not None else None


def _flights_go_on(self: read_through.ReadThrough[Any, Any], key: object) -> None:
    self._memory.drop((self.kind.name, key))


def _flights_all_go_on(self: read_through.ReadThrough[Any, Any]) -> None:
    del self


def _always_joined(self: batches.Batch[Any, Any], now: float) -> bool:
    del self, now
    return True


def _counts_are_kept(self: read_through.Brought[Any, Any], key: object) -> None:
    del self, key


def _no_lease(self: generations.Generations, cell: int) -> int | None:
    return self._known.get(cell)


def _known_for_ever(self: generations.Generations, cell: int) -> float:
    return self._clock() + generations.LEASE_S if cell in self._known else 0.0


def _nothing_lapses(self: generations.Generations) -> None:
    del self


async def _no_generation(self: generations.Generations, cell: object) -> None:
    del self, cell


async def _changes_from_the_next(client: Any, viewers: Sequence[int], last: bytes | None) -> list[Any]:
    """Read the changes as if the last one known did not matter: what was lost does not show."""
    answers = await _ASK(client, viewers, last)
    if last is not None and (not answers[-1] or answers[-1][0][0] != last):
        answers[-1] = [(last, {}), *answers[-1]]
    return answers


def _hidden_are_not_watched(self: hidden_edges.HiddenEdgesOfViewers, one_id: int, other_id: int) -> None:
    del self, one_id, other_id


def _edges_are_kept(self: hidden_edges.HiddenEdgesOfViewers) -> None:
    del self


async def _watched_once_read(self: hidden_edges.HiddenEdgesOfViewers, viewer_id: int, blocked: Blocked) -> HiddenEdges:
    """Note from then on what changes: what did while it was read is missed."""
    edges = await _FETCH_EDGES(self, viewer_id, blocked)
    edges.changed.clear()
    return edges


def _kept_whatever_was_before(
    self: read_through.ReadThrough[Any, Any], before: Any, after: Any, change: Callable[[Any], Any]
) -> None:
    held = self._memory.get((self.kind.name, before.viewer_id))
    if held is not None:
        _SUCCEED(self, held.key, after, change)


_SUCCEED: Final = read_through.ReadThrough.succeed
_ASK: Final = epochs._ask
_FETCH_EDGES: Final = hidden_edges.HiddenEdgesOfViewers.fetch
_ANNOUNCEMENT: Final = epochs.announcement
_TELL: Final = freshness.Remembered._insist
_LOOK: Final = generations.Generations.look
_BEGIN: Final = caches.Caches.begin
_EDIT: Final = schedule.World.edit


async def _told_once(
    self: freshness.Remembered, people: Sequence[int], work: Callable[[], Awaitable[None]], *, waits: bool
) -> None:
    """Take a failure to tell Redis for nothing."""
    with contextlib.suppress(CacheUnavailable):
        await work()
    self.forget(people)
    del waits


async def _told_without_waiting(
    self: freshness.Remembered, people: Sequence[int], work: Callable[[], Awaitable[None]], *, waits: bool
) -> None:
    del waits
    await _TELL(self, people, work, waits=False)


async def _announced_first(self: fakes.FakeRedis, *steps: Sequence[Command]) -> list[Any]:
    answers = [await self.exchange(step) for step in reversed(steps)]
    return [answer for step in reversed(answers) for answer in step]


def _announced_to_nobody(people: Sequence[int]) -> list[Command]:
    return _ANNOUNCEMENT([epochs.NOBODY] * len(people))


async def _the_same_epochs_again(
    self: freshness.Remembered, people: Any, keys: Iterable[str], told: Sequence[Command], *, waits: bool
) -> Mapping[str, tuple[bytes | None, bytes]]:
    again = {key: epochs.new_epoch() for key in keys}
    renewed: dict[str, tuple[bytes | None, bytes]] = {}

    async def work() -> None:
        before = await self.redis.in_order(epochs.renewals(again), _ANNOUNCEMENT(people), told)
        renewed.update(zip(again, zip(before, again.values(), strict=False), strict=True))

    with deadlines.under(None):
        await self._insist(people, work, waits=waits)
    return renewed


def _profiles_are_announced(people: Sequence[int]) -> list[Command]:
    return _ANNOUNCEMENT(people if len(people) == 1 else [epochs.NOBODY] * len(people))


async def _told_before_the_commit(self: schedule.World, process: schedule.Process, user_id: int, *, dies: bool) -> None:
    del dies
    if not await self._told(process.caches.database.freshness.user_changed(user_id, stricter=True)):
        return
    await fakes.pause(self.timing.short())
    store = self.store_of(user_id)
    store.versions[user_id] += 1
    self.profiles[user_id] = max(self.profiles[user_id], store.versions[user_id])


async def _without_generation(self: caches.Caches, viewer_id: int | None) -> bytes | None:
    return await self.pulse.read(viewer_id)


async def _always_one_epoch(self: epochs.Pulse, viewer_id: int | None) -> bytes | None:
    del self, viewer_id
    return b"epoch000"


async def _nobody_tells_again(self: schedule.World) -> None:
    while True:
        await self.untold.get()
        self.untold.task_done()


def _nobody_is_met(self: fakes.FakeRedis) -> int:
    return self._server.life


async def _read_though_it_ended(self: generations.Generations, cell: object) -> None:
    """Believe a cell at once, whoever was met meanwhile."""
    self._untold = {number: set() for number in self._untold}
    await _LOOK(self, cell)  # type: ignore[arg-type]


def _deadline_of_the_first() -> contextlib.AbstractContextManager[Any]:
    inherited = mock.Mock(wraps=deadlines, under=lambda _deadline: contextlib.nullcontext())
    return mock.patch("loaders.batches.deadlines", inherited)


async def _abandoned_with_the_caller(self: batches.Batch[Any, Any]) -> None:
    """Wait unshielded: whose time is over ends it for all."""
    task = asyncio.current_task()
    try:
        async with deadlines.heeded():
            await self._done
    except asyncio.CancelledError:
        if task is not None and task.cancelling():
            raise
        raise Overloaded(retryAfter=1) from None


async def _read_without_beginning(redis: Any, keys: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes | None]]:
    """Begin no epoch where there is none: one that the fill itself begins is taken for the one that was seen."""
    found = await redis.read([name for names in keys for name in names])
    return [
        (epoch or b"", value[8:] if value is not None and value[:8] == epoch else None)
        for epoch, value in zip(found[::2], found[1::2], strict=True)
    ]


def _fill_begins_an_epoch(server: fakes.RedisServer, *entry: Any) -> int:
    epoch_key, key, epoch, value, life = entry
    held = server.read(epoch_key)
    if held is None and not epoch:
        held = epochs.new_epoch()
        server.put(epoch_key, held, 1000)
    elif held != epoch:
        return 0
    server.put(key, held + value, life / 1000)
    return 1


@contextlib.contextmanager
def _absent_epoch_is_one() -> Iterator[None]:
    with (
        mock.patch.object(stored, "read_stamped", _read_without_beginning),
        mock.patch.object(fakes.RedisServer, "write_under_epoch", _fill_begins_an_epoch),
    ):
        yield


@contextlib.contextmanager
def _known_and_kept_for_ever() -> Iterator[None]:
    with (
        mock.patch.object(generations.Generations, "lapse", _nothing_lapses),
        mock.patch.object(generations.Generations, "known_until", _known_for_ever),
    ):
        yield


_SEEDS: Final[Mapping[str, int]] = {
    "the epoch is not compared when a fill is stored": 50,
    "the epoch is not compared when a value is read": 2,
    "the viewer's epoch is ignored": 0,
    "flights of a changed person go on": 649,
    "a side is kept whatever its epoch was": 168,
    "a side is kept as it was": 26,
    "counts that came along are kept though forgotten": 649,
    "a change that could not be told does not wait": 845,
    "a change is announced before its epoch is renewed": 59,
    "the generation is known for ever": 923,
    "no generation is begun": 91,
    "whom the hidden know is not noted to have changed": 25,
    "whom the hidden know is watched once it is read": 803,
    "whom the hidden know is kept when everything is forgotten": 13,
    "whom the hidden know is kept for other hidden people": 26,
    "a failure to tell is taken for nothing": 1,
    "a change is not announced": 2,
    "changes of pairs are not announced": 2,
    "a change is told before its commit": 17,
    "nobody tells again of what a dead process changed": 81,
    "a server in another life is taken for the same": 175,
    "cells are not told of a server in another life": 42,
    "joint work has the deadline of the first": 171,
    "callers share their cancellation": 11,
}
"""From where on a guard is soon missed; the others take more than a short run has: see `test_rare_schedules`."""

_PLANTS: Final[Mapping[str, Plant]] = {
    "the epoch is not compared when a fill is stored": _patched(
        fakes.RedisServer, "write_under_epoch", _epoch_is_not_compared_in_fills
    ),
    "the epoch is not compared when a value is read": _patched(entries, "_under", _epoch_is_not_compared_in_reads),
    "the viewer's epoch is ignored": _patched(epochs.Pulse, "read", _always_one_epoch),
    "a fill begins the epoch that was not there": _absent_epoch_is_one,
    "flights of a changed person go on": _patched(read_through.ReadThrough, "forget", _flights_go_on),
    "all flights go on when everything is forgotten": _patched(
        read_through.ReadThrough, "forget_flying", _flights_all_go_on
    ),
    "flights are joined however old": _patched(batches.Batch, "may_be_joined_at", _always_joined),
    "a side is kept whatever its epoch was": _patched(read_through.ReadThrough, "succeed", _kept_whatever_was_before),
    "a side is kept as it was": _patched(kinds.Side, "with_pair", lambda side, _other_id, _pair: side),
    "counts that came along are kept though forgotten": _patched(read_through.Brought, "forget", _counts_are_kept),
    "whom the hidden know is not noted to have changed": _patched(
        hidden_edges.HiddenEdgesOfViewers, "note", _hidden_are_not_watched
    ),
    "whom the hidden know is watched once it is read": _patched(
        hidden_edges.HiddenEdgesOfViewers, "fetch", _watched_once_read
    ),
    "whom the hidden know is kept when everything is forgotten": _patched(
        hidden_edges.HiddenEdgesOfViewers, "forget_all", _edges_are_kept
    ),
    "whom the hidden know is kept for other hidden people": _patched(Blocked, "digest", lambda _blocked: b""),
    "memory outlives the lease on generations": _patched(generations.Generations, "lapse", _nothing_lapses),
    "the generation is known for ever": _known_and_kept_for_ever,
    "no generation is begun": _patched(generations.Generations, "begin", _no_generation),
    "a change that could not be told does not wait": _patched(freshness.Remembered, "_insist", _told_without_waiting),
    "a failure to tell is taken for nothing": _patched(freshness.Remembered, "_insist", _told_once),
    "a change is announced before its epoch is renewed": _patched(fakes.FakeRedis, "in_order", _announced_first),
    "a change is not announced": _patched(freshness, "announcement", _announced_to_nobody),
    "changes of pairs are not announced": _patched(freshness, "announcement", _profiles_are_announced),
    "the next attempt renews to the same epochs": _patched(freshness.Remembered, "_tell", _the_same_epochs_again),
    "a change is told before its commit": _patched(schedule.World, "edit", _told_before_the_commit),
    "lost announcements do not show": _patched(epochs, "_ask", _changes_from_the_next),
    "nobody tells again of what a dead process changed": _patched(schedule.World, "tell", _nobody_tells_again),
    "a server in another life is taken for the same": _patched(fakes.FakeRedis, "_connect", _nobody_is_met),
    "cells are not told of a server in another life": _patched(generations.Generations, "look", _read_though_it_ended),
    "joint work has the deadline of the first": _deadline_of_the_first,
    "callers share their cancellation": _patched(batches.Batch, "wait", _abandoned_with_the_caller),
}


class Planted(NamedTuple):
    """A guard taken away, and a seed from which on it is soon missed."""

    plant: Plant
    seed: int | None


PLANTED: Final = {name: Planted(plant, _SEEDS.get(name)) for name, plant in _PLANTS.items()}
