"""What the viewer of an operation is to others: everything at once, where it is not too much."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Final, cast

import msgspec

from domain.relationships import STRANGERS, FollowState, Relationship
from domain.tallies import NO_BLOCKS, NO_VIEWER, Blocked, Blocks
from loaders.asker import Asker
from loaders.kinds import PairKey, Side, SideKey
from loaders.lazy import Lazy
from loaders.loader import Apart, Loader, Unremembered
from storage import lists

_NO_EPOCH: Final = b""
_TOO_MANY: Final = Blocks(None)


class OwnSide(msgspec.Struct, eq=False, dict=True):
    """Reads the viewer's side, once an operation."""

    _asker: Asker
    _side: Side | None = None
    _blocked: Blocked | None = None

    @Lazy
    def _sides(self) -> Loader[SideKey, Side]:
        return Loader(self._asker, self._asker.caches.sides)

    @Lazy
    def _newer_sides(self) -> Loader[SideKey, Side]:
        fetch = functools.partial(self._asker.caches.sides.load, direct=True)
        return Loader(self._asker, Apart(Unremembered(fetch, self._asker.caches.sides.missing)))

    @Lazy
    def _pairs(self) -> Loader[int, Relationship]:
        return Loader(self._asker, Apart(_Pairs(self._asker)))

    @Lazy
    def _blocks(self) -> Loader[int, Blocks]:
        return Loader(self._asker, Apart(_BlocksAlone(self._asker)))

    @Lazy
    def _too_many(self) -> Loader[int, Blocked]:
        return Loader(self._asker, Apart(Unremembered(functools.partial(_fetch_blocked, self._asker), NO_BLOCKS)))

    @Lazy
    def _followed(self) -> Loader[int, Sequence[int]]:
        return Loader(self._asker, Apart(Unremembered(functools.partial(_fetch_followed, self._asker), ())))

    def recall(self, other_ids: Sequence[int]) -> Sequence[Relationship] | None:
        """Give what the viewer is to many people at once, or None where that is not remembered."""
        viewer_id = self._asker.viewer_id
        if viewer_id is None:
            return [STRANGERS] * len(other_ids)
        side = self._side or self._recall(viewer_id)
        if side is None:
            return None
        return side.to_all(other_ids) if side.complete else self._pairs.recall(other_ids)

    async def load_many(self, other_ids: Sequence[int]) -> Sequence[Relationship]:
        """Give what the viewer is to many people."""
        if self._asker.viewer_id is None:
            return [STRANGERS] * len(other_ids)
        side = await self._fetch(self._asker.viewer_id)
        return side.to_all(other_ids) if side.complete else await self._pairs.load_many(other_ids)

    def recall_blocked(self) -> Blocked | None:
        """Give everybody whom a block, either way, hides from the viewer; None where that is not remembered."""
        viewer_id = self._asker.viewer_id
        if viewer_id is None:
            return NO_VIEWER
        if self._blocked is None and (side := self._side or self._recall(viewer_id)) is not None:
            [blocks] = [side.blocks] if side.complete else self._blocks.recall([viewer_id]) or [_TOO_MANY]
            self._blocked = blocks.at(self._asker.now) if blocks.ends is not None else None
        return self._blocked

    async def fetch_blocked(self) -> Blocked:
        """Give everybody whom a block, either way, hides from the viewer."""
        blocked, viewer_id = self.recall_blocked(), self._asker.viewer_id
        if blocked is not None or viewer_id is None:
            return blocked or NO_VIEWER
        side = await self._fetch(viewer_id)
        blocks = side.blocks if side.complete else await self._blocks.load(viewer_id)
        known = blocks.at(self._asker.now) if blocks.ends is not None else await self._too_many.load(viewer_id)
        self._blocked = known
        return known

    async def fetch_followed_ids(self) -> Sequence[int]:
        """Give whom the viewer follows."""
        viewer_id = self._asker.viewer_id
        if viewer_id is None:
            return ()
        side = await self._fetch(viewer_id)
        if not side.complete:
            return await self._followed.load(viewer_id)
        return [other_id for other_id, pair in side.pairs.items() if pair.follows is FollowState.ACTIVE]

    def _recall(self, viewer_id: int) -> Side | None:
        asker = self._asker
        if asker.epoch is None:
            return None
        key = tuple.__new__(SideKey, (viewer_id, asker.epoch))  # its own `__new__` calls this, and costs thrice as much
        side = asker.caches.sides.recall_one(key)
        if side is not None and not (asker.floors.pairs and _is_old(asker, side)):
            self._side = side
        return self._side

    async def _fetch(self, viewer_id: int) -> Side:
        waiting = self._asker.begin()
        if waiting is not None:
            await waiting
        side = self._side or self._recall(viewer_id)
        if side is None:
            key = SideKey(viewer_id, self._asker.epoch or _NO_EPOCH)
            side = await self._sides.load(key)
            if self._asker.floors.pairs and _is_old(self._asker, side):  # older than what the viewer has seen
                side = await self._newer_sides.load(key)
            self._side = side
        return side


class _BlocksAlone:
    """Reads the blocks of a viewer whose side is too much to be read as one."""

    __slots__ = ("_asker", "missing")

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.missing = asker.caches.blocks.missing

    def recall(self, keys: Sequence[int]) -> list[Blocks] | None:
        """Give what is remembered of all."""
        return self._asker.caches.blocks.recall(self._keys(keys))

    def gather(self, keys: Sequence[int], found: dict[int, Blocks]) -> None:
        """Put what is remembered into a mapping."""
        self._asker.caches.blocks.gather_as(keys, self._keys(keys), found)

    def _keys(self, viewer_ids: Sequence[int]) -> Iterable[SideKey]:
        return cast("Iterable[SideKey]", zip(viewer_ids, repeat(self._asker.epoch), strict=False))

    async def load(self, keys: Sequence[int], *, direct: bool) -> Mapping[int, Blocks]:
        """Give blocks."""
        side_keys = [SideKey(viewer_id, self._asker.epoch or _NO_EPOCH) for viewer_id in keys]
        found = await self._asker.caches.blocks.load(side_keys, direct=direct)
        return {key.viewer_id: blocks for key, blocks in found.items()}


class _Pairs:
    """Reads what the viewer is to one other at a time."""

    __slots__ = ("_asker", "missing")

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.missing = STRANGERS

    def recall(self, keys: Sequence[int]) -> list[Relationship] | None:
        """Give what is remembered of all pairs."""
        return self._asker.caches.pairs.recall(self._keys(keys))

    def gather(self, keys: Sequence[int], found: dict[int, Relationship]) -> None:
        """Put what is remembered of some pairs into a mapping."""
        self._asker.caches.pairs.gather_as(keys, self._keys(keys), found)

    def _keys(self, other_ids: Sequence[int]) -> Iterable[PairKey]:
        """Make keys to look up: tuples, which equal the named ones, and of which a whole page is made at once."""
        asker = self._asker
        return cast("Iterable[PairKey]", zip(repeat(asker.viewer_id), repeat(asker.epoch), other_ids, strict=False))

    async def load(self, keys: Sequence[int], *, direct: bool) -> Mapping[int, Relationship]:
        """Give pairs."""
        asker = self._asker
        pair_keys = [PairKey(asker.viewer_id or 0, asker.epoch or _NO_EPOCH, other_id) for other_id in keys]
        found = await asker.caches.pairs.load(pair_keys, direct=direct)
        return {key.other_id: pair for key, pair in found.items()}


def _is_old(asker: Asker, side: Side) -> bool:
    pairs = asker.floors.pairs
    return side.complete and any(side.to(other).version < version for other, version in pairs.items())


async def _fetch_followed(asker: Asker, viewer_ids: Sequence[int]) -> Mapping[int, Sequence[int]]:
    database = asker.caches.database
    return {viewer_id: await lists.fetch_followed_ids(database, viewer_id) for viewer_id in viewer_ids}


async def _fetch_blocked(asker: Asker, viewer_ids: Sequence[int]) -> Mapping[int, Blocked]:
    database, now = asker.caches.database, asker.now
    return {viewer_id: Blocked(await lists.fetch_blocked_ids(database, viewer_id, now)) for viewer_id in viewer_ids}
