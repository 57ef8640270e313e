"""The memory of this process (L1): answers at once, bounded in entries and bytes, and forgets by itself.

What is held is true while changes are heard of and the generations of the cells are known: who writes it here sees to
the first, and nothing is given once the second has ended. That it ends by itself as well keeps memory for what is used.
"""

import collections
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

K = TypeVar("K", bound=Hashable)
N = TypeVar("N", bound=Hashable)

LIFE_S: Final = 60.0
"""How long anything is remembered at most, from before it was read."""
ENDING_S: Final = 0.4
"""How long before a value is forgotten it is noted how often it is asked for."""
HOT: Final = 2
"""How often then, for it to be read again while nobody waits."""
ENTRY_OVERHEAD: Final = 400
"""Bytes that an entry costs beside its value's own: its key, what is noted of it, and its places in tables."""
_ROOMY: Final = 0.9
_SEEN_S: Final = 10.0
_SEEN: Final = 0.25
"""How many keys are noted as asked for once, as a share of the entries: each takes a small part of what they do."""


Place = tuple[str, Hashable]
"""A kind, and what is told apart in it: the key, or what several keys that hold one after another have in common."""


class Held(msgspec.Struct, eq=False):
    """One remembered value of a kind, and its key; `until` in seconds of the clock, `size` in bytes."""

    kind: str
    name: Hashable
    key: Hashable
    value: Any
    until: float
    size: int
    hits: int = 0


class Trust(Protocol):
    """Knows until when what is held may be given."""

    sure_until: float
    """Until when all of it may; infinite where nothing is held."""

    def lapse(self) -> None:
        """Have everything forgotten that may no longer be given."""


class Memory:
    """Values by key. The oldest go first: what is used much is soon there again."""

    def __init__(self, *, entries: int, size: int, trust: Trust, clock: Callable[[], float] = time.monotonic) -> None:
        self._trust = trust
        self._entries = entries
        self._size = size
        self._clock = clock
        self._used = 0
        self._shelves: dict[str, dict[Any, Held]] = collections.defaultdict(dict)
        """What is held of each kind, by key."""
        self._order: collections.OrderedDict[Held, None] = collections.OrderedDict()
        """All of it, the oldest first: of a plain dictionary the first becomes slow to find once many were taken."""
        self.is_off = False
        """Set while nothing that is held may be used."""
        self._seen: set[int] = set()
        self._seen_since = clock()

    @property
    def entries(self) -> int:
        """Count what is held."""
        return len(self._order)

    @property
    def size(self) -> int:
        """Give the bytes that are held, as far as they are known."""
        return self._used

    @property
    def is_trusted(self) -> bool:
        """Tell whether what was remembered may be used now; what may not is let go of."""
        self._now()
        return not self.is_off

    def get(self, place: Place) -> Held | None:
        """Give what is remembered, unless it is too old."""
        now, (kind, name) = self._now(), place
        held = self._shelves[kind].get(name)
        return None if held is None or self.is_off or held.until <= now else held

    def recall(self, kind: str, keys: Iterable[Hashable]) -> list[Any] | None:
        """Give what is remembered of all keys; None where one is not, or is soon forgotten, which `gather` notes."""
        if self.is_off:
            return None
        now = self._clock()
        if now >= self._trust.sure_until:
            self._trust.lapse()
        values: list[Any] = []
        soon, held_of = now + ENDING_S, self._shelves[kind].get
        for held in map(held_of, keys):
            if held is None or held.until <= soon:
                return None
            values.append(held.value)
        return values

    def gather(self, kind: str, keys: Iterable[K], names: Sequence[N], found: dict[N, Any]) -> list[K]:
        """Put what is remembered of some keys of a kind into `found`, under their names; gives those to read again."""
        ending: list[K] = []
        if self.is_off:
            return ending
        now, held_of = self._now(), self._shelves[kind].get
        soon = now + ENDING_S
        for key, name in zip(keys, names, strict=True):
            held = held_of(key)
            if held is not None and (until := held.until) > now:
                found[name] = held.value
                if until < soon:
                    held.hits += 1
                    if held.hits >= HOT:
                        ending.append(key)
        return ending

    def usable(self) -> list[tuple[str, Any, Any]]:
        """Give the kinds, keys and values that would be given now."""
        now = self._now()
        return [(held.kind, held.key, held.value) for held in self._order if not self.is_off and held.until > now]

    def put(self, place: Place, value: object, *, size: int, until: float, key: Hashable | None = None) -> None:
        """Remember a value until a time, at most LIFE_S from before it was asked for; `key` where it is not the place.

        When room is short only what is asked for a second time within seconds is remembered, so that a pass over
        millions of people does not push out whom everybody looks at.
        """
        kind, name = place
        self.put_all(kind, [Held(kind, name, name if key is None else key, value, until, size + ENTRY_OVERHEAD)])

    def put_all(self, kind: str, entries: Iterable[Held]) -> None:
        """Remember many values of a kind, as `put` does; their sizes are with the overhead."""
        now, shelf = self._now(), self._shelves[kind]
        for held in entries:
            name = held.name
            if held.until <= now or not (self._is_roomy() or self._is_seen_again((kind, name), now)):
                continue
            if (before := shelf.get(name)) is not None:
                self._remove(before)
            shelf[name] = held
            self._order[held] = None
            self._used += held.size
        self._make_room(now)

    def drop(self, place: Place) -> None:
        """Forget a value that has changed: the next one takes its room, however short that is."""
        held = self._at(place)
        if held is not None:
            if not self._is_roomy():
                self._seen.add(hash(place))
            self._remove(held)

    def clear(self) -> None:
        """Forget everything."""
        self._shelves.clear()
        self._order.clear()
        self._used = 0

    def _at(self, place: Place) -> Held | None:
        kind, name = place
        return self._shelves[kind].get(name)

    def _remove(self, held: Held) -> None:
        del self._shelves[held.kind][held.name], self._order[held]
        self._used -= held.size

    def _now(self) -> float:
        """Give the time, and let go of what may no longer be given at it."""
        now = self._clock()
        if now >= self._trust.sure_until:
            self._trust.lapse()
        return now

    def _make_room(self, now: float) -> None:
        while self._order:
            oldest = next(iter(self._order))
            if oldest.until > now and len(self._order) <= self._entries and self._used <= self._size:
                break
            self._remove(oldest)

    def _is_roomy(self) -> bool:
        return len(self._order) < self._entries * _ROOMY and self._used < self._size * _ROOMY

    def _is_seen_again(self, place: Place, now: float) -> bool:
        if now - self._seen_since > _SEEN_S or len(self._seen) > self._entries * _SEEN:
            self._seen, self._seen_since = set(), now
        digest = hash(place)
        if digest in self._seen or self._at(place) is not None:
            return True
        self._seen.add(digest)
        return False
