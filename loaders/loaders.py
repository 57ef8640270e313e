"""The loaders of one operation, one per question.

Nothing here points back: what an operation leaves behind is freed at once, without the collector of cycles.
"""

import asyncio
import datetime as dt
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from domain.personal import NO_DETAILS, PersonalDetails
from domain.relationships import ListKind, Relationship
from domain.tallies import Tally
from domain.users import Counts, User
from loaders.asker import NO_FLOORS, Asker, Floors
from loaders.caches import Caches
from loaders.kinds import HEAD, Head
from loaders.lazy import Lazy
from loaders.loader import Apart, Loader, Unremembered
from loaders.own_side import OwnSide
from loaders.read_through import ReadThrough
from loaders.shown_counts import ShownCounts, shown_to_all
from storage import lists, personal
from storage.list_entries import PLACE_BYTES, split_places, user_ids_in
from storage.lists import Span
from storage.vault import Vault

People = tuple[Sequence[User | None], Sequence[Relationship]]
"""People, and what the viewer is to each of them."""


class Loaders:
    """Everything that one operation reads, asked once; made for one viewer and thrown away with the operation."""

    def __init__(
        self,
        caches: Caches,
        viewer_id: int | None,
        now: dt.datetime,
        floors: Floors = NO_FLOORS,
        *,
        vault: Vault | None = None,
    ) -> None:
        self._vault = vault
        self._make(Asker(caches, viewer_id, now, floors))

    def _make(self, asker: Asker) -> None:
        """Make what nearly every operation asks; the rest is made when it is asked for."""
        caches, floors = asker.caches, asker.floors.users
        self.asker = asker
        self.users: Loader[int, User | None]
        self.users = Loader(asker, caches.users if not floors else Apart(_NoOlder(caches.users, floors)))
        self.ids_by_name: Loader[str, int | None] = Loader(asker, caches.names)
        self.tallies: Loader[int, Tally] = Loader(asker, caches.tallies)
        """Counts as they are, for everybody alike."""
        self._own_side = OwnSide(asker)
        self.counted: tuple[object, Sequence[Counts | None] | None] = None, None
        """The people whose counts were found last, and these: another field mostly asks for those of the same."""

    def forget(self) -> None:
        """Start anew: a mutation calls this, so that its payload shows what it did."""
        for name in _LOADERS:
            vars(self).pop(name, None)
        self._make(self.asker.anew())

    def begin(self) -> Awaitable[None] | None:
        """Learn what may be used of all that is remembered; None once that is known."""
        return self.asker.begin()

    @Lazy
    def counts(self) -> Loader[int, Counts]:
        """Give the loader of what shows of these counts to the viewer."""
        return Loader(self.asker, Apart(ShownCounts(self.asker, self.tallies, self._own_side)))

    async def fetch_ids_anew(self, name_keys: Sequence[str]) -> list[int | None]:
        """Give the ids by the keys of names, whatever the memory of this process holds."""
        names = self.asker.caches.names
        for key in name_keys:
            names.forget(key)
        found = await names.load(name_keys, direct=self.asker.epoch is None)
        return [found[key] for key in name_keys]

    @Lazy
    def details(self) -> Loader[int, PersonalDetails]:
        """Give the loader of what is personal, which nothing remembers beyond this operation."""
        fetch = functools.partial(_fetch_details, self.asker.caches, self._vault)
        return Loader(self.asker, Apart(Unremembered(fetch, NO_DETAILS)))

    @Lazy
    def _followers(self) -> Loader[int, Head]:
        return Loader(self.asker, self.asker.caches.followers)

    @Lazy
    def _following(self) -> Loader[int, Head]:
        return Loader(self.asker, self.asker.caches.following)

    def recall_people(self, user_ids: Sequence[int]) -> People | None:
        """Give many people, and what the viewer is to each of them, at once; None where that is not remembered."""
        users, relationships = self.users.recall(user_ids), self._own_side.recall(user_ids)
        return (users, relationships) if users is not None and relationships is not None else None

    async def fetch_people(self, user_ids: Sequence[int]) -> People:
        """Give many people, and what the viewer is to each of them."""
        waiting = self.asker.begin()
        if waiting is not None:
            await waiting
        users, relationships = self.users.recall(user_ids), self._own_side.recall(user_ids)
        if users is None and relationships is None:
            return await asyncio.gather(self.users.load_many(user_ids), self._own_side.load_many(user_ids))
        if users is None:
            users = await self.users.load_many(user_ids)
        if relationships is None:
            relationships = await self._own_side.load_many(user_ids)
        return users, relationships

    def recall_counts(self, user_ids: Sequence[int]) -> Sequence[Counts] | None:
        """Give what shows of people's counts to the viewer at once, or None where not all of it is known."""
        tallies, blocked = self.tallies.recall(user_ids), self._own_side.recall_blocked()
        shown = shown_to_all(tallies, blocked) if tallies is not None and blocked is not None else None
        return shown if shown is not None else self.counts.recall(user_ids)

    async def fetch_relationships(self, other_ids: Sequence[int]) -> Sequence[Relationship]:
        """Give what the viewer is to many people."""
        return await self._own_side.load_many(other_ids)

    def recall_blocked_ids(self) -> Sequence[int] | None:
        """Give the same as `fetch_blocked_ids` at once, or None where it is not remembered."""
        blocked = self._own_side.recall_blocked()
        return blocked.ids if blocked is not None else None

    async def fetch_blocked_ids(self) -> Sequence[int]:
        """Give everybody whom a block, either way, hides from the viewer."""
        return (await self._own_side.fetch_blocked()).ids

    async def fetch_followed_ids(self) -> Sequence[int]:
        """Give whom the viewer follows."""
        return await self._own_side.fetch_followed_ids()

    async def fetch_list(
        self, kind: ListKind, owner_ids: Sequence[int], span: Span, among: Sequence[int] | None = None
    ) -> dict[int, bytes]:
        """Give the packed rows of each owner's list in a span, in reading order; see `storage.lists.fetch_list`.

        The newest rows are remembered before anything is left out. Whether they are looked at depends on how many are
        to be left out, never on who is in a list: what a page costs says nothing of who is hidden.
        What is not remembered may come from replicas, but for the viewer's own lists: who changes those looks at once.
        """
        asker = self.asker
        database = asker.caches.database
        positions = asker.floors.positions if asker.viewer_id not in owner_ids else None
        if (
            kind not in (ListKind.FOLLOWERS, ListKind.FOLLOWING)
            or not span.downward
            or span.limit + len(span.without) > HEAD
        ):
            return await lists.fetch_list(database, kind, owner_ids, span, among, positions=positions)
        loader = self._followers if kind is ListKind.FOLLOWERS else self._following
        pick = _picking(span)
        rows, beyond = {}, []
        for owner_id, head in zip(
            owner_ids, loader.recall(owner_ids) or await loader.load_many(owner_ids), strict=True
        ):
            found = pick(head)
            if found is None:
                beyond.append(owner_id)
            else:
                rows[owner_id] = found
        return {**rows, **await lists.fetch_list(database, kind, beyond, span, positions=positions)} if beyond else rows


_LOADERS: Final = [name for name, its in vars(Loaders).items() if isinstance(its, Lazy)]


class _NoOlder:
    """Reads profiles, and those from the cells that are older than the viewer has seen them."""

    __slots__ = ("_floors", "_users", "missing")

    def __init__(self, users: ReadThrough[int, User | None], floors: Mapping[int, int]) -> None:
        self._users = users
        self._floors = floors
        self.missing = users.missing

    def recall(self, keys: Sequence[int]) -> list[User | None] | None:
        """Have them looked at one by one."""
        del keys
        return None

    def gather(self, keys: Sequence[int], found: dict[int, User | None]) -> None:
        """Put what memory holds of some people into a mapping."""
        self._users.gather(keys, found)
        for key in [key for key in keys if key in found and self._is_old(key, found[key])]:
            del found[key]

    async def load(self, keys: Sequence[int], *, direct: bool) -> Mapping[int, User | None]:
        """Give people."""
        found = await self._users.load(keys, direct=direct)
        old = [key for key, user in found.items() if self._is_old(key, user)]
        return {**found, **await self._users.load(old, direct=True)} if old else found

    def _is_old(self, user_id: int, user: User | None) -> bool:
        return (user.version if user is not None else 0) < self._floors.get(user_id, 0)


async def _fetch_details(caches: Caches, vault: Vault | None, user_ids: Sequence[int]) -> Mapping[int, PersonalDetails]:
    """Read what is personal out of the cells, each time: open, it is in no memory that outlives the operation."""
    return await personal.fetch_details(caches.database, vault, user_ids) if vault else {}


def _picking(span: Span) -> Callable[[Head], bytes | None]:
    """Make what picks a span out of the newest rows; None where it reaches beyond them."""
    size = span.limit * PLACE_BYTES
    without, beyond = frozenset(span.without), span.beyond.packed() if span.beyond is not None else None

    def pick(head: Head) -> bytes | None:
        places = head.places
        if beyond is not None or (without and not without.isdisjoint(user_ids_in(places[:size]))):
            rows = zip(split_places(places), user_ids_in(places), strict=True)
            kept = [place for place, user_id in rows if user_id not in without and (beyond is None or place < beyond)]
            places = b"".join(kept)
        return places[:size] if head.whole or len(places) >= size else None

    return pick
