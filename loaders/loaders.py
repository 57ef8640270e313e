"""The loaders of one operation, one per question."""

import asyncio
import datetime as dt
import operator
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple, TypeVar, cast

from domain.personal import NO_DETAILS, PersonalDetails
from domain.relationships import STRANGERS, FollowState, ListKind, Relationship
from domain.users import Counts, User
from loaders.caches import Caches
from loaders.kinds import HEAD, Head, HiddenKey, PairKey, Side, SideKey
from loaders.lazy import Lazy
from loaders.loader import Loader
from loaders.read_through import ReadThrough
from storage import lists, personal
from storage.lists import ListEntry, Span
from storage.replicas import Positions
from storage.vault import Vault

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Floors(NamedTuple):
    """The versions below which nothing is to be shown: of people, and of what the viewer is to them.

    `positions` are how far a replica must have come; None: none has come far enough.
    """

    users: Mapping[int, int]
    pairs: Mapping[int, int]
    positions: Positions | None = None


# Keys that are only looked up are tuples: they equal the named ones, and a whole page of them is made at once.
_OTHER_ID: Final[Callable[[PairKey], int]] = operator.itemgetter(2)
_OWNER_ID: Final[Callable[[HiddenKey], int]] = operator.itemgetter(0)
NO_FLOORS: Final = Floors({}, {}, {})
"""What is shown may be as old as anything ever is."""


class Loaders:
    """Everything that one operation reads, asked once; made for one viewer and thrown away with the operation.

    Nothing that is remembered is used before the viewer's epoch is known: `begin` reads it, once.
    """

    def __init__(
        self,
        caches: Caches,
        viewer_id: int | None,
        now: dt.datetime,
        floors: Floors = NO_FLOORS,
        *,
        vault: Vault | None = None,
    ) -> None:
        self._caches = caches
        self._vault = vault
        self._floors = floors
        self._viewer_id = viewer_id
        self._now = now
        self._positions = floors.positions
        self._begun = False
        self._epoch: bytes | None = None
        self._side: Side | None = None

    def forget(self) -> None:
        """Start anew: a mutation calls this, so that its payload shows what it did."""
        self._positions = None
        self._begun, self._epoch, self._side = False, None, None
        for name in _LOADERS:
            vars(self).pop(name, None)

    @Lazy
    def users(self) -> Loader[int, User | None]:
        """Give the loader of profiles."""
        return self._over(self._caches.users, self._is_old_user if self._floors.users else None)

    @Lazy
    def counts(self) -> Loader[int, Counts]:
        """Give the loader of counts, the hidden included."""
        return self._over(self._caches.counts)

    @Lazy
    def hidden_counts(self) -> Loader[int, Counts]:
        """Give the loader of what of these counts is hidden from the viewer."""
        return Loader(self.begin, self._recall_hidden_counts, self._load_hidden_counts, missing=Counts())

    @Lazy
    def ids_by_name(self) -> Loader[str, int | None]:
        """Give the loader of ids by the keys of names."""
        return self._over(self._caches.names)

    @Lazy
    def _followers(self) -> Loader[int, Head]:
        return self._over(self._caches.followers)

    @Lazy
    def _following(self) -> Loader[int, Head]:
        return self._over(self._caches.following)

    @Lazy
    def _sides(self) -> Loader[int, Side]:
        return Loader(self.begin, _recall_nothing, self._load_sides, missing=self._caches.sides.kind.missing)

    @Lazy
    def _pairs(self) -> Loader[int, Relationship]:
        return Loader(self.begin, self._recall_pairs, self._load_pairs, missing=STRANGERS)

    @Lazy
    def _blocked(self) -> Loader[int, Sequence[int]]:
        return Loader(self.begin, _recall_nothing, self._fetch_blocked, missing=())

    @Lazy
    def _followed(self) -> Loader[int, Sequence[int]]:
        return Loader(self.begin, _recall_nothing, self._fetch_followed, missing=())

    @Lazy
    def details(self) -> Loader[int, PersonalDetails]:
        """Give the loader of what is personal, which nothing remembers beyond this operation."""
        return Loader(self.begin, _recall_nothing, self._fetch_details, missing=NO_DETAILS)

    def _over(self, reader: ReadThrough[K, V], is_old: Callable[[K, V], bool] | None = None) -> Loader[K, V]:
        """Ask this operation's questions of one kind; what `is_old` is read from the cells."""

        def recall(keys: Sequence[K], found: dict[K, V]) -> None:
            if self._epoch is not None:
                reader.recall(keys, found)
                for key in [key for key in keys if key in found and is_old(key, found[key])] if is_old else ():
                    del found[key]

        async def load(keys: Sequence[K]) -> Mapping[K, V]:
            found = await reader.load(keys, direct=self._epoch is None)
            old = [key for key, value in found.items() if is_old is not None and is_old(key, value)]
            return {**found, **await reader.load(old, direct=True)} if old else found

        return Loader(self.begin, recall, load, missing=reader.kind.missing)

    def _is_old_user(self, user_id: int, user: User | None) -> bool:
        return (user.version if user is not None else 0) < self._floors.users.get(user_id, 0)

    def _is_old_side(self, side: Side) -> bool:
        return (
            bool(self._floors.pairs)
            and side.complete
            and any(side.to(other_id).version < version for other_id, version in self._floors.pairs.items())
        )

    def _recall_side(self, viewer_id: int) -> Side | None:
        if self._side is None and self._epoch is not None:
            side = self._caches.sides.recall_one(self._side_key(viewer_id))
            if side is not None and not self._is_old_side(side):
                self._side = side
        return self._side

    async def _fetch_side(self, viewer_id: int) -> Side:
        if not self._begun:
            await self._begin()
        side = self._recall_side(viewer_id)
        if side is None:
            loader = self._sides
            side = await loader.load(viewer_id)
            if self._sides is loader:  # else a mutation has made all of this anew meanwhile
                self._side = side
        return side

    def _recall_pairs(self, other_ids: Sequence[int], found: dict[int, Relationship]) -> None:
        if self._epoch is None:
            return
        pairs: dict[PairKey, Relationship] = {}
        keys = zip(repeat(self._viewer_id or 0), repeat(self._epoch), other_ids)
        self._caches.pairs.recall(cast("list[PairKey]", list(keys)), pairs)
        found.update(zip(map(_OTHER_ID, pairs), pairs.values(), strict=True))

    def _recall_hidden_counts(self, owner_ids: Sequence[int], found: dict[int, Counts]) -> None:
        if self._epoch is None:
            return
        counts: dict[HiddenKey, Counts] = {}
        keys = zip(owner_ids, repeat(self._viewer_id or 0), repeat(self._epoch))
        self._caches.hidden.recall(cast("list[HiddenKey]", list(keys)), counts)
        found.update(zip(map(_OWNER_ID, counts), counts.values(), strict=True))

    def begin(self) -> Awaitable[None] | None:
        """Learn what may be used of all that is remembered; None once that is known."""
        return None if self._begun else self._begin()

    async def _begin(self) -> None:
        epoch = await self._caches.begin(self._viewer_id)
        if not self._begun:
            self._begun, self._epoch = True, epoch

    async def fetch_people(self, user_ids: Sequence[int]) -> tuple[Sequence[User | None], Sequence[Relationship]]:
        """Give many people, and what the viewer is to each of them."""
        if not self._begun:
            await self._begin()
        users, relationships = self.users.recall(user_ids), self._recall_relationships(user_ids)
        if users is not None and relationships is not None:
            return users, relationships
        return await asyncio.gather(self.users.load_many(user_ids), self.fetch_relationships(user_ids))

    async def fetch_relationships(self, other_ids: Sequence[int]) -> list[Relationship]:
        """Give what the viewer is to many people: everything about the viewer at once, where it is not too much."""
        if self._viewer_id is None:
            return [STRANGERS] * len(other_ids)
        side = await self._fetch_side(self._viewer_id)
        return side.to_all(other_ids) if side.complete else await self._pairs.load_many(other_ids)

    def _recall_relationships(self, other_ids: Sequence[int]) -> list[Relationship] | None:
        if self._viewer_id is None:
            return [STRANGERS] * len(other_ids)
        side = self._recall_side(self._viewer_id)
        if side is None:
            return None
        return side.to_all(other_ids) if side.complete else self._pairs.recall(other_ids)

    async def fetch_blocked_ids(self) -> Sequence[int]:
        """Give everybody whom a block, either way, hides from the viewer."""
        if self._viewer_id is None:
            return ()
        side = await self._fetch_side(self._viewer_id)
        return side.hidden_at(self._now) if side.complete else await self._blocked.load(self._viewer_id)

    async def fetch_followed_ids(self) -> Sequence[int]:
        """Give whom the viewer follows."""
        if self._viewer_id is None:
            return ()
        side = await self._fetch_side(self._viewer_id)
        if not side.complete:
            return await self._followed.load(self._viewer_id)
        return [other_id for other_id, pair in side.pairs.items() if pair.follows is FollowState.ACTIVE]

    async def fetch_list(
        self, kind: ListKind, owner_ids: Sequence[int], span: Span, among: Sequence[int] | None = None
    ) -> dict[int, list[ListEntry]]:
        """Give the rows of each owner's list in a span, in reading order; see `storage.lists.fetch_list`.

        The newest rows are remembered before anything is left out. Whether they are looked at depends on how many are
        to be left out, never on who is in a list: what a page costs says nothing of who is hidden.
        What is not remembered may come from replicas, but for the viewer's own lists: who changes those looks at once.
        """
        database = self._caches.database
        positions = self._positions if self._viewer_id not in owner_ids else None
        if (
            kind not in (ListKind.FOLLOWERS, ListKind.FOLLOWING)
            or not span.downward
            or span.limit + len(span.without) > HEAD
        ):
            return await lists.fetch_list(database, kind, owner_ids, span, among, positions=positions)
        loader = self._followers if kind is ListKind.FOLLOWERS else self._following
        heads = await loader.load_many(owner_ids)
        rows = {owner_id: _within(head, span) for owner_id, head in zip(owner_ids, heads, strict=True)}
        beyond = [owner_id for owner_id, found in rows.items() if found is None]
        read = await lists.fetch_list(database, kind, beyond, span, positions=positions) if beyond else {}
        return {owner_id: found if found is not None else read[owner_id] for owner_id, found in rows.items()}

    def _side_key(self, viewer_id: int) -> SideKey:
        return SideKey(viewer_id, self._epoch or b"")

    def _pair_key(self, other_id: int) -> PairKey:
        return PairKey(self._viewer_id or 0, self._epoch or b"", other_id)

    def _hidden_key(self, owner_id: int) -> HiddenKey:
        return HiddenKey(owner_id, self._viewer_id or 0, self._epoch or b"")

    async def _load_sides(self, viewer_ids: Sequence[int]) -> Mapping[int, Side]:
        keys = [self._side_key(viewer_id) for viewer_id in viewer_ids]
        found = await self._caches.sides.load(keys, direct=self._epoch is None)
        if any(self._is_old_side(side) for side in found.values()):
            found = await self._caches.sides.load(keys, direct=True)
        return {key.viewer_id: side for key, side in found.items()}

    async def _load_pairs(self, other_ids: Sequence[int]) -> Mapping[int, Relationship]:
        keys = [self._pair_key(other_id) for other_id in other_ids]
        found = await self._caches.pairs.load(keys, direct=self._epoch is None)
        return {key.other_id: pair for key, pair in found.items()}

    async def _load_hidden_counts(self, owner_ids: Sequence[int]) -> Mapping[int, Counts]:
        """Count what the viewer's blocks hide of each owner's lists.

        Asked also where there is no block: whether somebody hides must not show in what a request costs.
        """
        if self._viewer_id is None:
            return {}
        blocked = await self.fetch_blocked_ids()

        async def fetch(keys: Sequence[HiddenKey]) -> Mapping[HiddenKey, Counts]:
            of_owners = {key.owner_id: key for key in keys}
            found = await lists.fetch_hidden_counts(self._caches.database, list(of_owners), blocked)
            return {of_owners[owner_id]: counts for owner_id, counts in found.items()}

        keys = [self._hidden_key(owner_id) for owner_id in owner_ids]
        counted = await self._caches.hidden.load(keys, direct=self._epoch is None, fetch=fetch)
        return {key.owner_id: counts for key, counts in counted.items()}

    async def _fetch_followed(self, viewer_ids: Sequence[int]) -> Mapping[int, Sequence[int]]:
        database = self._caches.database
        return {viewer_id: await lists.fetch_followed_ids(database, viewer_id) for viewer_id in viewer_ids}

    async def _fetch_details(self, user_ids: Sequence[int]) -> Mapping[int, PersonalDetails]:
        """Read what is personal out of the cells, each time: open, it is in no memory that outlives the operation."""
        return await personal.fetch_details(self._caches.database, self._vault, user_ids) if self._vault else {}

    async def _fetch_blocked(self, viewer_ids: Sequence[int]) -> Mapping[int, Sequence[int]]:
        database = self._caches.database
        return {viewer_id: await lists.fetch_blocked_ids(database, viewer_id, self._now) for viewer_id in viewer_ids}


_LOADERS: Final = [name for name, its in vars(Loaders).items() if isinstance(its, Lazy)]


def _recall_nothing(_keys: Sequence[int], _found: dict[int, Any]) -> None:
    pass


def _within(head: Head, span: Span) -> list[ListEntry] | None:
    """Pick a span out of the newest rows; None where it reaches beyond them."""
    if span.beyond is None and not span.without:
        return list(head.entries[: span.limit]) if head.whole or len(head.entries) >= span.limit else None
    without = frozenset(span.without)
    rows = [
        entry
        for entry in head.entries
        if entry.user_id not in without and (span.beyond is None or entry.position < span.beyond)
    ]
    return rows[: span.limit] if head.whole or len(rows) >= span.limit else None
