"""Runs the doors in two worlds and says where they differ."""

import dataclasses
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tests.proof.leaks.doors import Door
from tests.proof.leaks.paths import Path
from tests.proof.leaks.service import Answer, Service
from tests.proof.leaks.worlds import (
    World,
    block_and_unblock,
    come_and_be_blocked,
    come_as_strangers,
    delete,
    delete_and_come_back_blocking,
    hide_both_ways,
    hide_by_block,
    hide_by_own_block,
    hide_for_a_while,
    list_targets,
    suspend,
)

Step = Callable[[World], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What a viewer could notice: in which experiment, at which door, in what, and where in the answer."""

    experiment: str
    door: str
    aspect: str
    where: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.experiment}: {self.door}: {self.aspect} {self.where}: {self.before} -> {self.after}"


@dataclasses.dataclass(frozen=True, slots=True)
class Experiment:
    """Two worlds that a viewer must not tell apart: the second is the first after `between`."""

    name: str
    between: Sequence[Step]
    before: Sequence[Step] = ()
    viewer_blocks: bool = False
    signed_in: bool = True
    target_is_met: bool = False
    """Whether the viewer meets the target in both: only then does an answer to a look-up hold lists."""
    leave_out: str | None = None
    """A pattern of doors that may differ, and why is said where it is set."""

    def applies(self, door: Door) -> bool:
        """Tell whether the door belongs to this experiment."""
        if door.own and not self.signed_in:
            return False
        return self.leave_out is None or re.search(self.leave_out, door.label) is None


async def _bring(world: World) -> None:
    await world.bring_targets()


# Whoever blocks manages the block: the list of blocks, both mutations on them, and the rule behind what is seen.
# The viewer may also list whom the viewer blocks.
_OWN_BLOCK: Final = (
    r"Viewer\.blocks|viewer\.blocks|(Mutation\.(un)?blockUser|privacyExplain).*\[.*(userId).*\]"
    r"|updatePrivacySettings.*\[input\."
)
# With a target that can be met, these change something; unblocking shows whether a person can be met afterwards.
_CHANGING: Final = (
    r"Mutation\.(follow|block|mute)User.*userId|updatePrivacySettings.*input\.|Mutation\.unblockUser.*userId"
)
_CHANGES_STRANGER: Final = r"Mutation\.(follow|block|mute)User.*userId|updatePrivacySettings.*input\."

EXPERIMENTS: Final[Mapping[str, Experiment]] = {
    experiment.name: experiment
    for experiment in (
        Experiment("the target blocks", [_bring, list_targets, hide_by_block]),
        Experiment("the target blocks for a while", [_bring, hide_for_a_while]),
        Experiment("the target is deleted", [_bring, list_targets, delete]),
        Experiment("the target is suspended", [_bring, list_targets, suspend]),
        Experiment("deleted, back, and blocking", [_bring, list_targets, delete_and_come_back_blocking]),
        Experiment("deleted, to the anonymous", [_bring, delete], signed_in=False),
        Experiment("suspended, to the anonymous", [_bring, suspend], signed_in=False),
        Experiment("the viewer blocks", [_bring, hide_by_own_block], viewer_blocks=True, leave_out=_OWN_BLOCK),
        Experiment("both block", [_bring, hide_both_ways], viewer_blocks=True, leave_out=_OWN_BLOCK),
        Experiment(
            "the blocked blocks back",
            [hide_by_block],
            before=[come_and_be_blocked],
            viewer_blocks=True,
            leave_out=r"Mutation\.unblockUser.*userId|updatePrivacySettings.*input\.",
        ),
        Experiment(
            "a stranger blocked and unblocked",
            [block_and_unblock],
            before=[come_as_strangers],
            target_is_met=True,
            leave_out=_CHANGES_STRANGER,
        ),
    )
}
_WHERE_IT_MATTERS: Final = r"\[(id|user|input)|Query\.(me|viewer)|Query\.user .*around 0|Subscription|^pages"
SHORT: Final[Mapping[str, str]] = {
    "the target blocks": "",
    "the target is deleted": _WHERE_IT_MATTERS,
    "the blocked blocks back": _WHERE_IT_MATTERS,
}
"""What every run of the tests walks through, and by which doors; PROVE=long walks through all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A difference that is there and is to go away; what no longer differs must leave this list."""

    experiments: str
    aspect: str
    where: str
    why: str

    def covers(self, difference: Difference) -> bool:
        """Tell whether a difference is this one."""
        place = difference.where or difference.door
        return (
            re.search(self.experiments, difference.experiment) is not None
            and re.fullmatch(self.aspect, difference.aspect) is not None
            and re.search(self.where, place) is not None
        )


KNOWN: Final[tuple[Known, ...]] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one experiment."""

    experiment: Experiment
    doors: Sequence[Door]
    differences: Sequence[Difference]

    @property
    def paths(self) -> set[Path]:
        """Give the paths that were walked."""
        return {path for door in self.doors for path in door.paths}

    @property
    def unknown(self) -> list[Difference]:
        """Give the differences that are not known already."""
        return [found for found in self.differences if not any(known.covers(found) for known in KNOWN)]


async def run(service: Service, experiment: Experiment, doors: Sequence[Door]) -> Report:
    """Walk through the doors before and after what the viewer must not notice."""
    world = World(service, viewer_blocks=experiment.viewer_blocks)
    chosen = [door for door in doors if experiment.applies(door)]
    await prepare(world, experiment)
    before = await try_all(world, experiment, chosen)
    await go_on(world, experiment)
    return report_of(experiment, chosen, before, await try_all(world, experiment, chosen))


async def prepare(world: World, experiment: Experiment) -> None:
    """Make the first of the two worlds."""
    await world.populate()
    for step in experiment.before:
        await step(world)


async def go_on(world: World, experiment: Experiment) -> None:
    """Make the second out of the first."""
    for step in experiment.between:
        await step(world)


def report_of(experiment: Experiment, doors: Sequence[Door], before: "Tries", after: "Tries") -> Report:
    """Compare what was tried in both."""
    differences = [
        Difference(experiment.name, door.label, *found)
        for door in doors
        for found in dict.fromkeys(
            _compare(before[door.label], after[door.label], counted=_is_counted(experiment, door))
        )
    ]
    return Report(experiment, doors, differences)


def _is_counted(experiment: Experiment, door: Door) -> bool:
    return door.counted and not (door.aimed and experiment.target_is_met)


@dataclasses.dataclass(frozen=True, slots=True)
class _Tried:
    answers: Sequence[Answer]
    wrote: bool


Tries = Mapping[str, _Tried]


async def try_all(world: World, experiment: Experiment, doors: Sequence[Door]) -> Tries:
    """Try every door once."""
    return {door.label: await _try(world, door, experiment) for door in doors}


async def _try(world: World, door: Door, experiment: Experiment) -> _Tried:
    asker = world.viewer if experiment.signed_in else world.anonymous
    rows = await world.service.rows() if door.mutates else None
    answers = await door.ask(world, asker)
    return _Tried(answers, door.mutates and await world.service.rows() != rows)


Found = tuple[str, str, str, str]


def _compare(before: _Tried, after: _Tried, *, counted: bool) -> Iterator[Found]:
    if before.wrote or after.wrote:
        yield "rows", "", _wrote(before), _wrote(after)
    if len(before.answers) != len(after.answers):
        yield "pages", "", str(len(before.answers)), str(len(after.answers))
    for one, other in zip(before.answers, after.answers, strict=False):
        yield from _compare_answers(one, other)
    if counted and _statements(before) != _statements(after):
        yield "statements", "", str(_statements(before)), str(_statements(after))


def _statements(tried: _Tried) -> int:
    return sum(len(answer.statements) for answer in tried.answers)


def _wrote(tried: _Tried) -> str:
    return "written" if tried.wrote else "not written"


def _compare_answers(one: Answer, other: Answer) -> Iterator[Found]:
    if one.status != other.status:
        yield "status", "", str(one.status), str(other.status)
    if "INTERNAL_SERVER_ERROR" in f"{one.body!r}{other.body!r}":
        yield "failure", "", one.body.decode()[:200], other.body.decode()[:200]
    if one.body != other.body:
        found = list(_compare_json("", _read(one.body), _read(other.body)))
        yield from found or [("bytes", "", one.body.decode(), other.body.decode())]
    elif one.headers != other.headers:
        yield "headers", "", str(dict(one.headers)), str(dict(other.headers))


def _read(body: bytes) -> Any:
    return [json.loads(line) for line in body.decode().splitlines()]


def _compare_json(where: str, one: Any, other: Any) -> Iterator[Found]:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for name in one:
            yield from _compare_json(f"{where}.{name}", one[name], other[name])
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for first, second in zip(one, other, strict=True):
            yield from _compare_json(where, first, second)
    elif one != other:
        yield "body", where.removeprefix(".data").removeprefix(".payload.data"), _short(one), _short(other)


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
