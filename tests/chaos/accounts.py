"""Accounting: what was acknowledged against what was heard and what people were told.

Order is promised for each pair of people, each profile and each mute: two pairs of one person may be decided in two
cells, and a mute is decided in the owner's.
"""

import collections
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from domain.events import BlockPayload, FollowPayload, MutePayload
from tests.chaos.actors import Expected
from tests.chaos.sink import Heard

_MUTES: Final = frozenset({"user.muted", "user.unmuted"})


@dataclasses.dataclass(slots=True)
class Account:
    """How what was heard differs from what must have been."""

    lost: int = 0
    doubled: int = 0
    disordered: int = 0

    def add(self, expected: Sequence[Expected], heard: Sequence[Heard]) -> None:
        """Take one person into account: these events, each once, and those about one other in this order."""
        told = [Expected(one.type, other_of(one.about)) for one in heard]
        wanted, found = collections.Counter(expected), collections.Counter(told)
        self.lost += (wanted - found).total()
        self.doubled += (found - wanted).total()
        if wanted == found:
            self.disordered += by_other(expected) != by_other(told)


def by_other(events: Sequence[Expected]) -> dict[tuple[str | None, bool], list[str]]:
    """Group events by what is ordered, each group in its order."""
    grouped: dict[tuple[str | None, bool], list[str]] = {}
    for event in events:
        grouped.setdefault((event.other, event.type in _MUTES), []).append(event.type)
    return grouped


def since_the_start(heard: Sequence[Heard], others: Collection[str]) -> list[Heard]:
    """Leave out what became of somebody before: the signing up, and follows of people who are not in this."""
    return [one for one in heard if one.type == "user.updated" or other_of(one.about) in others]


def other_of(payload: Any) -> str | None:
    """Give the other's id of a fact about two people."""
    match payload:
        case FollowPayload(followee_id=other) | BlockPayload(blocked_id=other) | MutePayload(muted_id=other):
            return str(other)
        case _:
            return None


def told_once(told: Mapping[str, int], wanted: Sequence[str]) -> tuple[int, int, int]:
    """Count who of those wanted was not told of, how often anybody was told of again, and who should not have been."""
    missing = sum(told.get(name, 0) == 0 for name in wanted)
    return missing, sum(times - 1 for times in told.values() if times > 1), len(told.keys() - set(wanted))
