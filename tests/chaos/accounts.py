"""Accounting: what was acknowledged against what was heard and what people were told.

Order is promised for each pair of people, each profile and each mute: two pairs of one person may be decided in two
cells, and a mute is decided in the owner's.
"""

import collections
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from domain.events import BlockPayload, FollowPayload, MutePayload
from tests.chaos.actors import Expected
from tests.chaos.sink import Heard

_MUTES: Final = frozenset({"user.muted", "user.unmuted"})


_Group = tuple[str | None, bool]
"""What is ordered: what one is to somebody, or whether one mutes them, or one's profile."""
_SHOWN: Final = 5


@dataclasses.dataclass(slots=True)
class Account:
    """How what was heard differs from what must have been."""

    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    disorders: list[str] = dataclasses.field(default_factory=list, compare=False)
    """Where the order was another, for whoever looks for the reason."""

    def add(self, expected: Sequence[Expected], heard: Sequence[Heard]) -> None:
        """Take one person into account: these events, each once, and those about one other in this order."""
        told = [Expected(one.type, other_of(one.about)) for one in heard]
        wanted, found = collections.Counter(expected), collections.Counter(told)
        self.lost += (wanted - found).total()
        self.doubled += (found - wanted).total()
        if wanted == found and (disorders := [*_disorders(expected, heard)]):
            self.disordered += 1
            self.disorders += disorders


def _disorders(expected: Sequence[Expected], heard: Sequence[Heard]) -> Iterator[str]:
    """Say where a group is in another order, and the numbers under which its events were kept."""
    wanted: dict[_Group, list[str]] = collections.defaultdict(list)
    came: dict[_Group, list[Heard]] = collections.defaultdict(list)
    for event in expected:
        wanted[event.other, event.type in _MUTES].append(event.type)
    for one in heard:
        came[other_of(one.about), one.type in _MUTES].append(one)
    for group, types in wanted.items():
        pairs = enumerate(zip(types, came[group], strict=True))
        at = next((place for place, (type_, one) in pairs if type_ != one.type), None)
        if at is not None:
            shown = ", ".join(f"{one.type} {one.sequence}" for one in came[group][at : at + _SHOWN])
            yield f"{group[0]}: event {at} of {len(types)}: {', '.join(types[at : at + _SHOWN])}; came as {shown}"


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


def told_once(told: Mapping[str, int], wanted: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Name who of those wanted was not told of, who again, once for each time, and who should not have been."""
    again = [name for name, times in told.items() for _ in range(times - 1)]
    return [name for name in wanted if not told.get(name)], again, sorted(told.keys() - set(wanted))
