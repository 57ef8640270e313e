"""Clients that act on the same pairs at once, and what became of the pairs."""

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import random
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import asyncpg

from domain import transitions
from domain.errors import Overloaded
from domain.ids import NodeType
from domain.relationships import FollowState, Relationship
from domain.transitions import Transition
from storage.cells import open_cells
from storage.counters import Sample, sample
from storage.database import Database
from storage.pairs import apply_side, change_pair
from storage.relationships import fetch_relationships, fetch_truth
from tests.proof.leaks.service import patiently
from tests.proof.races.history import Answer, Operation, is_linearizable, plain

CLIENTS: Final = 16
PEOPLE: Final = 40
HOT_PAIRS: Final = 6
AFTER_REFUSAL_S: Final = 0.2
"""How long a client leaves a cell alone that has just refused it: on a busy machine, to ask at once refuses again."""

_ACTIONS: Final = {
    "follow": 5,
    "accept": 3,
    "block": 3,
    "unblock": 3,
    "unfollow": 1,
    "reject": 1,
    "remove": 1,
    "cancel": 1,
    "look": 2,
}

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What a client read of a pair on one side, and the latest version that anybody had been answered before."""

    side: Relationship
    promised: int

    @property
    def is_right(self) -> bool:
        """Tell whether it is no older than what was answered, and no follow stands beside a block."""
        return self.side.version >= self.promised and not is_forbidden(self.side)


@dataclasses.dataclass(slots=True)
class Record:
    """Everything the clients saw."""

    histories: dict[Pair, list[Operation]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    looks: list[Look] = dataclasses.field(default_factory=list)
    unanswered: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong afterwards, as numbers of pairs, people or reads; all 0 is right."""

    forbidden: int
    disagreeing: int
    miscounted: int
    not_linearizable: int
    stale: int
    missing_events: int

    @property
    def wrong(self) -> int:
        """Add everything that is wrong."""
        return sum(dataclasses.astuple(self))


def is_forbidden(side: Relationship) -> bool:
    """Tell whether a block stands beside a follow or a request."""
    has_follow = side.follows is not FollowState.NONE or side.followed_by is not FollowState.NONE
    return has_follow and (side.blocks or side.blocked_by)


class Crowd:
    """Sixteen clients with connections of their own, and the people they act for."""

    def __init__(
        self, clients: Sequence[Database], people: Sequence[int], *, seed: int, hot_share: float, known_share: float
    ) -> None:
        self._clients = clients
        self._people = people
        self._rng = random.Random(seed)
        self._hot = [self._any_pair() for _ in range(HOT_PAIRS)]
        self._hot_share = hot_share
        self._known_share = known_share
        self._private = frozenset(people[::2])
        self._promised: dict[Pair, int] = collections.defaultdict(int)
        self._last: dict[Pair, Relationship] = {}
        self.record = Record()

    async def act(self, operations: int) -> Record:
        """Do so many operations, each client one after the other and all clients at once."""
        remaining = iter(range(operations))

        async def client(database: Database) -> None:
            for _ in remaining:
                await self._one(database)

        await asyncio.gather(*(client(database) for database in self._clients))
        return self.record

    def _any_pair(self) -> Pair:
        one, other = self._rng.sample(self._people, 2)
        return one, other

    async def _one(self, database: Database) -> None:
        one, other = self._rng.choice(self._hot) if self._rng.random() < self._hot_share else self._any_pair()
        actor, target = (one, other) if self._rng.random() < 0.5 else (other, one)
        [name] = self._rng.choices(list(_ACTIONS), list(_ACTIONS.values()))
        if name == "look":
            await self._look(database, actor, target)
        else:
            await self._change(database, actor, target, name)

    async def _look(self, database: Database, actor: int, target: int) -> None:
        promised = self._promised[_pair(actor, target)]
        try:
            sides = await fetch_relationships(database, actor, [target])
        except Overloaded:
            await asyncio.sleep(AFTER_REFUSAL_S)
            return
        self.record.looks.append(Look(sides.get(target, Relationship()), promised))

    def _known(self, actor: int, pair: Pair) -> Relationship | None:
        """Give what the actor takes the pair for, which may be long past; now and then nothing."""
        if self._rng.random() >= self._known_share:
            return None
        low = self._last.get(pair, Relationship())
        return low if actor == pair[0] else low.mirrored()

    async def _change(self, database: Database, actor: int, target: int, name: str) -> None:
        pair = _pair(actor, target)
        transition = _transition(name, target_is_private=target in self._private)
        operation = Operation(name, transition, by_low=actor == pair[0], invoked=time.monotonic())
        known = self._known(actor, pair)
        try:
            change = await change_pair(database, actor, target, transition, dt.datetime.now(dt.UTC), known=known)
        except (Overloaded, asyncpg.CheckViolationError):
            self.record.unanswered += 1
            self.record.histories[pair].append(dataclasses.replace(operation, is_known=False))
            await asyncio.sleep(AFTER_REFUSAL_S)
            return
        answer = None
        if change is not None:
            state = plain(change.after if operation.by_low else change.after.mirrored())
            answer = Answer(change.events, state)
            self._promised[pair] = max(self._promised[pair], state.version)
            self._last[pair] = change.after if operation.by_low else change.after.mirrored()
        self.record.histories[pair].append(
            dataclasses.replace(operation, answered=time.monotonic(), answer=answer),
        )


def _pair(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)


def _transition(name: str, *, target_is_private: bool) -> Transition:
    made: dict[str, Transition] = {
        "follow": transitions.follow(target_is_private=target_is_private),
        "accept": transitions.accept(),
        "block": transitions.block(until=None),
        "unblock": transitions.unblock(),
        "unfollow": transitions.unfollow(),
        "reject": transitions.reject(),
        "remove": transitions.remove_follower(),
        "cancel": transitions.cancel_request(),
    }
    return made[name]


@contextlib.asynccontextmanager
async def open_clients(dsns: Sequence[str], database: Database) -> AsyncIterator[list[Database]]:
    """Open connections of its own for each client, one per cell."""
    async with contextlib.AsyncExitStack() as stack:
        cells = [await stack.enter_async_context(open_cells(dsns, connections=1)) for _ in range(CLIENTS)]
        yield [Database(shards, database.ids) for shards in cells]


async def judge(database: Database, people: Sequence[int], record: Record) -> Verdict:
    """Compare what the clients were answered with what the cells hold now."""
    sides = {pair: await patiently(partial(_sides, database, pair, record)) for pair in record.histories}
    samples = [await patiently(partial(_sample, database, user_id)) for user_id in people]
    following = collections.Counter(
        owner
        for pair, (low, _) in sides.items()
        for owner, state in zip(pair, (low.follows, low.followed_by), strict=True)
        if state is FollowState.ACTIVE
    )
    return Verdict(
        forbidden=sum(is_forbidden(low) or is_forbidden(high) for low, high in sides.values()),
        disagreeing=sum(plain(low) != plain(high.mirrored()) for low, high in sides.values()),
        miscounted=sum(not one.is_right or one.counted.following != following[one.user_id] for one in samples),
        not_linearizable=sum(
            not is_linearizable(history, plain(sides[pair][0])) for pair, history in record.histories.items()
        ),
        stale=sum(not look.is_right for look in record.looks),
        missing_events=await patiently(partial(_missing_events, database, people, record)),
    )


async def _sides(database: Database, pair: Pair, record: Record) -> tuple[Relationship, Relationship]:
    """Read both rows; where an answer did not come the event brings the second up to date, and here we do."""
    low, high = pair
    if any(not operation.is_known for operation in record.histories[pair]):
        with contextlib.suppress(asyncpg.CheckViolationError):  # counters gone wrong keep it out: the sides disagree
            await apply_side(database, high, low, await fetch_truth(database, low, high))
    ours, theirs = await fetch_relationships(database, low, [high]), await fetch_relationships(database, high, [low])
    return ours.get(high, Relationship()), theirs.get(low, Relationship())


async def _sample(database: Database, user_id: int) -> Sample:
    [found] = await sample(database.shards.home(user_id), [user_id])
    return found


async def _missing_events(database: Database, people: Sequence[int], record: Record) -> int:
    """Compare how many events were answered with how many wait in the outboxes; not to be told where answers lack."""
    if record.unanswered:
        return 0
    keys = [database.ids.encode(NodeType.USER, user_id) for user_id in people]
    statement = "SELECT count(*) AS number FROM outbox WHERE aggregateid = ANY($1::text[]) AND aggregatetype = 'social'"
    written = sum([(await cell.fetch(statement, keys))[0]["number"] for cell in database.shards.cells])
    answered = sum(
        len(operation.answer.events)
        for history in record.histories.values()
        for operation in history
        if operation.answer is not None
    )
    return abs(int(written) - answered)
