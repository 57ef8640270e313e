"""How many people one may follow: an absolute limit, and from some number on no more than so many per follower."""

import dataclasses
from typing import Final

from domain.users import Counts


@dataclasses.dataclass(frozen=True, slots=True)
class FollowLimits:
    """The rule: `absolute` at most, and beyond `free` no more than `ratio` times one's own followers."""

    absolute: int = 7500
    free: int = 2000
    ratio: float = 1.1

    def allowance(self, counts: Counts) -> int:
        """Give how many people somebody with these figures may follow in all."""
        return min(self.absolute, max(self.free, int(counts.followers * self.ratio)))

    def is_exceeded_by(self, counts: Counts) -> bool:
        """Tell whether somebody with these figures follows more than allowed."""
        return counts.following > self.allowance(counts)


DEFAULT_LIMITS: Final = FollowLimits()
