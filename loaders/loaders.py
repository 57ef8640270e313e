"""The loaders of one operation, one per question."""

import datetime as dt
from collections.abc import Mapping, Sequence

from domain.relationships import STRANGERS, Relationship
from domain.users import Counts, User
from loaders.loader import Loader
from storage import lists, relationships, users
from storage.database import Database


class Loaders:
    """Everything that one operation reads, asked once; made for one viewer and thrown away with the operation."""

    def __init__(self, database: Database, viewer_id: int | None, now: dt.datetime) -> None:
        self._database = database
        self._viewer_id = viewer_id
        self._now = now
        self.users: Loader[int, User | None]
        self.counts: Loader[int, Counts]
        self.hidden_counts: Loader[int, Counts]
        self.ids_by_name: Loader[str, int | None]
        self.relationships: Loader[int, Relationship]
        self.followed_ids: Loader[int, Sequence[int]]
        self._blocked: Loader[int, Sequence[int]]
        self.forget()

    def forget(self) -> None:
        """Start anew: a mutation calls this, so that its payload shows what it did."""
        self.users = Loader(self._fetch_users, missing=None)
        self.counts = Loader(self._fetch_counts, missing=Counts())
        self.hidden_counts = Loader(self._fetch_hidden_counts, missing=Counts())
        self.ids_by_name = Loader(self._fetch_ids_by_name, missing=None)
        self.relationships = Loader(self._fetch_relationships, missing=STRANGERS)
        self.followed_ids = Loader(self._fetch_followed, missing=())
        self._blocked = Loader(self._fetch_blocked, missing=())

    async def _fetch_users(self, user_ids: Sequence[int]) -> Mapping[int, User | None]:
        found = await users.fetch_users(self._database, user_ids)
        for user_id, (_, counts) in found.items():
            self.counts.prime(user_id, counts)
        return {user_id: user for user_id, (user, _) in found.items()}

    async def _fetch_counts(self, user_ids: Sequence[int]) -> Mapping[int, Counts]:
        found = await users.fetch_users(self._database, user_ids)
        return {user_id: counts for user_id, (_, counts) in found.items()}

    async def _fetch_hidden_counts(self, owner_ids: Sequence[int]) -> Mapping[int, Counts]:
        """Count what the viewer's blocks hide of each owner's lists.

        Asked also where there is no block: whether somebody hides must not show in what a request costs.
        """
        if self._viewer_id is None:
            return {}
        return await lists.fetch_hidden_counts(self._database, owner_ids, await self.fetch_blocked_ids())

    async def _fetch_followed(self, viewer_ids: Sequence[int]) -> Mapping[int, Sequence[int]]:
        return {viewer_id: await lists.fetch_followed_ids(self._database, viewer_id) for viewer_id in viewer_ids}

    async def fetch_blocked_ids(self) -> Sequence[int]:
        """Give everybody whom a block, either way, hides from the viewer."""
        return await self._blocked.load(self._viewer_id) if self._viewer_id is not None else ()

    async def _fetch_blocked(self, viewer_ids: Sequence[int]) -> Mapping[int, Sequence[int]]:
        return {
            viewer_id: await lists.fetch_blocked_ids(self._database, viewer_id, self._now) for viewer_id in viewer_ids
        }

    async def _fetch_ids_by_name(self, keys: Sequence[str]) -> Mapping[str, int | None]:
        return {**await users.fetch_ids_by_name(self._database, keys)}

    async def _fetch_relationships(self, other_ids: Sequence[int]) -> Mapping[int, Relationship]:
        if self._viewer_id is None:
            return {}
        return await relationships.fetch_relationships(self._database, self._viewer_id, other_ids)
