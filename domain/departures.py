"""Going and coming back: how long a deletion can be undone, and which follows a return brings back."""

import dataclasses
import datetime as dt
from typing import Final

from domain.relationships import FollowState, Relationship

GRACE: Final = dt.timedelta(days=30)
"""How long a person who has deleted the account may come back."""


@dataclasses.dataclass(frozen=True, slots=True)
class ArchivedEdges:
    """What two people were to each other when one of them went, seen from that one, and what the pair came to by it."""

    follows: FollowState
    follows_at: dt.datetime | None
    followed_by: FollowState
    followed_by_at: dt.datetime | None
    version: int
    was_private: bool
    other_was_private: bool

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to bring back."""
        return self.follows is FollowState.NONE and self.followed_by is FollowState.NONE

    def mirrored(self) -> "ArchivedEdges":
        """See the same edges from the other end."""
        return ArchivedEdges(
            follows=self.followed_by,
            follows_at=self.followed_by_at,
            followed_by=self.follows,
            followed_by_at=self.follows_at,
            version=self.version,
            was_private=self.other_was_private,
            other_was_private=self.was_private,
        )

    def allowed(self, *, is_private: bool, other_is_private: bool) -> "ArchivedEdges":
        """Leave what no change of privacy has forbidden since.

        An account that has gone private decides anew who follows it; a request has no place where there are none.
        """
        follows = _allowed(self.follows, was_private=self.other_was_private, is_private=other_is_private)
        followed_by = _allowed(self.followed_by, was_private=self.was_private, is_private=is_private)
        return dataclasses.replace(
            self,
            follows=follows,
            follows_at=self.follows_at if follows else None,
            followed_by=followed_by,
            followed_by_at=self.followed_by_at if followed_by else None,
        )


def archived(before: Relationship, version: int, *, was_private: bool, other_was_private: bool) -> ArchivedEdges:
    """Take down the edges of a pair that is about to come to a version without them."""
    return ArchivedEdges(
        follows=before.follows,
        follows_at=before.follows_at,
        followed_by=before.followed_by,
        followed_by_at=before.followed_by_at,
        version=version,
        was_private=was_private,
        other_was_private=other_was_private,
    )


def _allowed(state: FollowState, *, was_private: bool, is_private: bool) -> FollowState:
    stays = is_private if state is FollowState.PENDING else was_private or not is_private
    return state if stays else FollowState.NONE
