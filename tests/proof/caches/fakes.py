"""What lies below the read-through, made of dictionaries and delays: Redis, with the commands used, and the cells.

Every answer takes its time. A call may fail before it has an effect, after it, or seem to fail and have it later.
"""

import asyncio
import bisect
import dataclasses
import datetime as dt
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded
from domain.tallies import pack_ids
from storage import entries, generations, relationships, tallies
from storage.exchanges import Command
from storage.redis_client import CALL_TIMEOUT_S, CacheUnavailable
from tests.proof.caches.loop import VirtualLoop

FOLLOWED: Final = 1000
"""How many everybody follows, beside those who are in a pair with somebody: too many to be listed."""
POLICY: Final = ""  # cannot be read, and so is the most restrictive: reading it costs next to nothing
THEN: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
Row = dict[str, Any]
_SHORT: Final = (0.0, 0.001, 0.002, 0.005, 0.012)
_LONG: Final = (0.02, 0.1, 0.6, 1.4, 2.6)


@dataclasses.dataclass(slots=True)
class Faults:
    """How likely things go wrong, from 0 to 1, and who is cut off."""

    redis_fails: float = 0.0
    redis_late: float = 0.0
    cell_fails: float = 0.0
    cell_slow: float = 0.0
    cut_off: set[object] = dataclasses.field(default_factory=set)


class Timing:
    """Seeded delays."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.random = random.Random(seed)
        self.loop = loop
        self.faults = Faults()

    def happens(self, likely: float) -> bool:
        return likely > 0 and self.random.random() < likely

    def short(self) -> float:
        return _SHORT[int(self.random.random() * len(_SHORT))]  # `choice` takes four times as long

    def long(self) -> float:
        return self.random.choice(_LONG)


def pause(seconds: float) -> asyncio.Future[None]:
    """Give what is done after some time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.pause(seconds)


class RedisServer:
    """One Redis: values with ends, one stream, and the two scripts by what they promise."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.values: dict[str, tuple[bytes, float]] = {}
        self.stream: list[tuple[bytes, list[bytes]]] = []
        self._sequence = 0
        self._time = 1000
        self.life = 0
        self.told_until = 0.0
        """When the last command comes of those that were sent."""

    def forget(self) -> None:
        """Restart without anything; the clock of the new life is behind that of the old one."""
        self.values.clear()
        self.stream.clear()
        self._sequence = 0
        self._time -= 1
        self.life += 1

    def evict_stream(self) -> None:
        """Lose the changes alone; those listed from then on are later ones, as the clock goes on."""
        self.stream.clear()
        self._time += 1

    def snapshot(self) -> Callable[[], None]:
        """Give what restarts with what there is now."""
        values, stream, sequence, time = dict(self.values), list(self.stream), self._sequence, self._time

        def go_back() -> None:
            self.values, self.stream, self._sequence = dict(values), list(stream), sequence
            self._time = max(self._time, time)  # what is listed next comes after what is there, whatever the clock
            self.life += 1

        return go_back

    def read(self, key: str) -> bytes | None:
        value, end = self.values.get(key, (None, 0.0))
        return value if end > self._now() else None

    def do(self, command: Command) -> Any:
        """Do a command as it comes over the wire, and give its answer."""
        name, *arguments = command
        return _COMMANDS[str(name)](self, *arguments)

    def _set(self, key: str, value: bytes, *options: Any) -> bytes | None:
        """Set a value; the last two options say for how long."""
        before, (*_, unit, life) = self.read(key), options
        if before is None or "NX" not in options:
            self.put(key, value, life / _UNITS[unit])
        elif "GET" not in options:
            return None
        return before if "GET" in options else b"OK"

    def put(self, key: str, value: bytes, seconds: float) -> None:
        """Hold a value for some time."""
        self.values[key] = value, self._now() + seconds

    def _mget(self, *keys: str) -> list[bytes | None]:
        return list(map(self.read, keys))

    def _evalsha(self, digest: str, count: int, *arguments: Any) -> None:
        keys, values = arguments[:count], arguments[count:]
        if digest == entries._WRITE_NEWER.digest:
            for at, key in enumerate(keys):
                self.write_newer(key, *values[at * 3 : at * 3 + 3])
            return
        assert digest == entries._WRITE_UNDER_EPOCH.digest
        for at in range(count // 2):
            self.write_under_epoch(*keys[at * 2 : at * 2 + 2], *values[at * 3 : at * 3 + 3])

    def write_newer(self, key: str, version: bytes, value: bytes, life: int) -> int:
        held = (self.read(key) or b"")[:8]
        if len(held) == 8 and held > version:
            return 0
        self.put(key, version + value, life / 1000)
        return 1

    def write_under_epoch(self, epoch_key: str, key: str, epoch: bytes, value: bytes, life: int) -> int:
        if self.read(epoch_key) != epoch:
            return 0
        self.put(key, epoch + value, life / 1000)
        return 1

    def _xadd(self, _stream: str, *arguments: Any) -> bytes:
        self._sequence += 1
        fields = [str(part).encode() for part in arguments[arguments.index("*") + 1 :]]
        self.stream.append((b"%d-%d" % (self._time, self._sequence), fields))
        return self.stream[-1][0]

    def _xrange(self, _stream: str, first: str | bytes, _last: str, _count: str, count: int) -> list[Any]:
        start = bisect.bisect_left(self.stream, _order(first), key=_place) if isinstance(first, bytes) else 0
        return self.stream[start : start + count]

    def _xrevrange(self, _stream: str, _last: str, _first: str, _count: str, count: int) -> list[Any]:
        return self.stream[::-1][:count]


_COMMANDS: Final[dict[str, Callable[..., Any]]] = {
    "GET": RedisServer.read,
    "MGET": RedisServer._mget,
    "SET": RedisServer._set,
    "EVALSHA": RedisServer._evalsha,
    "XADD": RedisServer._xadd,
    "XRANGE": RedisServer._xrange,
    "XREVRANGE": RedisServer._xrevrange,
}
_UNITS: Final = {"EX": 1, "PX": 1000}


def _order(identity: bytes) -> tuple[int, int]:
    time, _, number = identity.partition(b"-")
    return int(time), int(number)


def _place(entry: tuple[bytes, list[bytes]]) -> tuple[int, int]:
    return _order(entry[0])


class FakeRedis:
    """One process's way to Redis."""

    is_cluster = False

    def __init__(self, server: RedisServer, timing: Timing) -> None:
        self._server = server
        self._timing = timing
        self._life: int | None = None
        self.meet: Callable[[str], None] = lambda _life: None

    def _connect(self) -> int:
        """Give the life of the server that is asked; another than the last one is met first."""
        life = self._server.life
        if life != self._life:
            self._life = life
            self.meet(str(life))
        return life

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Have commands take effect after a while, whether or not anybody waits, and answer or fail after another."""
        timing, loop = self._timing, self._timing.loop
        if self in timing.faults.cut_off or deadlines.is_over():
            await loop.pause(0.0)
            raise CacheUnavailable
        way, back = timing.short(), timing.short()
        if timing.happens(timing.faults.redis_late):
            way, back = (timing.long(), 0.0) if timing.happens(0.5) else (way, 0.1)
        if timing.happens(timing.faults.redis_fails):
            await loop.pause(way)
            raise CacheUnavailable

        server, life, answered = self._server, self._connect(), loop.create_future()
        is_late, found = way + back >= CALL_TIMEOUT_S, None

        def act() -> None:
            nonlocal found
            if server.life == life:
                found = list(map(server.do, commands))
            if not is_late:
                loop.end_after(back, answered)

        server.told_until = max(server.told_until, loop.time() + way)
        loop.do_after(way, act)
        if is_late:
            loop.end_after(CALL_TIMEOUT_S, answered)
        await answered
        if is_late or found is None:
            raise CacheUnavailable
        return found

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read values as from one server."""
        [found] = await self.exchange([("MGET", *keys)])
        assert isinstance(found, list)
        return found

    async def in_order(self, *steps: Sequence[Command]) -> list[Any]:
        """Send one step after the other, as to several servers."""
        return [answer for step in filter(None, steps) for answer in await self.exchange(step)]


class CellStore:
    """What one cell's database holds: whatever is committed is there for whoever reads later."""

    def __init__(self) -> None:
        self.generation = 1
        self.versions: dict[int, int] = {}
        self.edges: dict[int, int] = {}
        self.pairs: dict[tuple[int, int], int] = {}
        self.lives: set[str] = set()

    def answer(self, statement: str, arguments: Sequence[Any]) -> list[Row]:
        if statement == generations._READ:
            return [{"generation": self.generation}]
        if statement == generations.BEGIN_GENERATION:
            self.generation += 1
            return [{"generation": self.generation}]
        if statement == generations.MEET:
            self.generation += not self.lives.issuperset(arguments[0])
            self.lives.update(arguments[0])
            return []
        if statement in {tallies._FETCH_PEOPLE, tallies._FETCH, tallies._FETCH_SHOWN}:
            row: Callable[[int, Any], Row] = self._shown_row if statement == tallies._FETCH_SHOWN else self._user_row
            return [row(user_id, arguments[1]) for user_id in arguments[0] if user_id in self.versions]
        if statement == relationships._FETCH_SIDE:
            pairs = [(other, version) for (owner, other), version in self.pairs.items() if owner == arguments[0]]
            return [pair_row(other, version) for other, version in pairs][: arguments[1]]
        assert statement == relationships._FETCH
        owner, others = arguments
        return [pair_row(other, self.pairs[owner, other]) for other in others if (owner, other) in self.pairs]

    def _user_row(self, user_id: int, listed: int) -> Row:
        """Give a person, whom others follow as often as the pair has changed: of the hidden these are listed."""
        row = user_row(user_id, self.versions[user_id], self.edges[user_id])
        if listed != tallies.NEIGHBOURS:
            return row
        pairs = [(other, version) for (owner, other), version in self.pairs.items() if owner == user_id]
        followers = [other for other, version in pairs for _ in range(version)]
        return {**row, "follower_ids": pack_ids(followers), "followed_ids": b""}

    def _shown_row(self, user_id: int, hidden: Sequence[int]) -> Row:
        less = sum(self.pairs.get((user_id, other), 0) for other in hidden)
        return {"user_id": user_id, "followers": self.edges[user_id], "following": FOLLOWED - less}


class FakeCell:
    """One process's way to a cell."""

    def __init__(self, number: int, store: CellStore, timing: Timing) -> None:
        self.number = number
        self.store = store
        self._timing = timing

    async def fetch(self, statement: str, *arguments: object, priority: object = None) -> list[Row]:
        """Answer after a while out of what there is then, and have the answer take another."""
        del priority
        timing, loop = self._timing, self._timing.loop
        if deadlines.is_over():
            raise DeadlineExceeded
        if self in timing.faults.cut_off:
            await loop.pause(timing.long())
            raise Overloaded(retryAfter=1)
        answered, rows = loop.create_future(), None

        def look() -> None:
            nonlocal rows
            if answered.cancelled():
                return
            fails = timing.happens(timing.faults.cell_fails)
            if fails and timing.happens(0.5):
                answered.set_result(None)
                return
            found = self.store.answer(statement, arguments)
            rows = None if fails else found
            loop.end_after(self._delay(), answered)

        loop.do_after(self._delay(), look)
        await answered
        if rows is None or self in timing.faults.cut_off:
            raise Overloaded(retryAfter=1)
        return rows

    def _delay(self) -> float:
        return self._timing.long() if self._timing.happens(self._timing.faults.cell_slow) else self._timing.short()


def user_row(user_id: int, version: int, edges: int) -> Row:
    return {
        "id": user_id, "username": "n", "display_name": None, "bio": None, "avatar_url": None, "pronouns": None,
        "location": None, "links": "[]", "policy": POLICY, "state": 1, "version": version, "created_at": THEN,
        "followers": edges, "following": FOLLOWED, "follower_ids": None, "followed_ids": None,
    }  # fmt: skip


def pair_row(other_id: int, version: int) -> Row:
    return {
        "other_id": other_id, "follows": 0, "follows_at": None, "followed_by": 0, "followed_by_at": None,
        "blocks": False, "blocks_until": None, "blocks_since": None, "blocked_by": True, "blocked_by_until": None,
        "blocked_by_since": None, "mutes": False, "mutes_until": None, "version": version, "follows_version": 0,
        "followed_by_version": 0,
    }  # fmt: skip
