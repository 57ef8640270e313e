"""How often a name may be changed."""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Final


@dataclasses.dataclass(frozen=True, slots=True)
class RenameQuota:
    """At most so many changes within a time, and so long a pause after each."""

    most: int = 3
    within: dt.timedelta = dt.timedelta(days=30)
    pause: dt.timedelta = dt.timedelta(days=1)

    def allowed_at(self, changes: Sequence[dt.datetime]) -> dt.datetime | None:
        """Say from when on another change is allowed, after those of the time `within`, in order; None for at once."""
        after_pause = changes[-1] + self.pause if changes else None
        if after_pause is None or len(changes) < self.most:
            return after_pause
        return max(after_pause, changes[-self.most] + self.within)


DEFAULT_QUOTA: Final = RenameQuota()
