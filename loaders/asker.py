"""Who asks in one operation, and what may be used of all that is remembered."""

import datetime as dt
from collections.abc import Awaitable, Mapping
from typing import Final, NamedTuple

import msgspec

from loaders.caches import Caches
from storage.epochs import Beat
from storage.replicas import Positions


class Floors(NamedTuple):
    """The versions below which nothing is to be shown: of people, and of what the viewer is to them.

    `positions` are how far a replica must have come; None: none has come far enough.
    """

    users: Mapping[int, int]
    pairs: Mapping[int, int]
    positions: Positions | None = None


NO_FLOORS: Final = Floors({}, {}, {})
"""What is shown may be as old as anything ever is."""


class Asker(msgspec.Struct, eq=False):
    """One viewer in one operation, or in what is left of it after a mutation.

    Nothing that is remembered is used before the viewer's epoch is known: `begin` reads it, once.
    """

    caches: Caches
    viewer_id: int | None
    now: dt.datetime
    floors: Floors
    begun: bool = False
    epoch: bytes | None = None
    """The viewer's epoch; None where nothing that is remembered may be used, or before that is known."""

    def begin(self) -> Awaitable[None] | None:
        """Learn what may be used of all that is remembered; None once that is known."""
        return None if self.begun else self._begin()

    async def _begin(self) -> None:
        epoch = await self.caches.begin(self.viewer_id)
        if not self.begun:
            self.begun, self.epoch = True, epoch

    def join(self) -> Beat | None:
        """Join the look at Redis that tells the same: whoever has waited for its end calls `heed`."""
        return None if self.begun else self.caches.pulse.join(self.viewer_id)

    def heed(self, beat: Beat) -> None:
        """Take what a look has told that was joined."""
        if not self.begun:
            self.begun, self.epoch = True, self.caches.heed(self.viewer_id, beat.epoch_of(self.viewer_id))

    def anew(self) -> "Asker":
        """Give the same viewer after something has changed, whom no replica can have caught up with."""
        return Asker(self.caches, self.viewer_id, self.now, self.floors._replace(positions=None))
