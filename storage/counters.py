"""Counters: exact at every commit, whoever is counted.

They move in the transaction of the edge. The followers of a person above a threshold are counted in slots chosen by
chance, so that those who follow at once do not wait for each other; the counter is always the row plus its slots, and
a job folds the slots into the row. Whether a row is slotted only decides where the next increment goes: no sum
depends on it, so that the switch needs no care.
"""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Final

from domain.relationships import CountChange
from domain.users import Counts
from storage.cells import Cell, Connection, Record

SLOTS: Final = 64

_MOVE: Final = """
UPDATE user_counts
SET followers = followers + $2, following = following + $3, slotted = slotted OR followers + $2 >= $4
WHERE user_id = $1 AND ($3 <> 0 OR NOT slotted)
RETURNING followers, following
"""

_MOVE_SLOT: Final = """
INSERT INTO user_count_slots AS s (user_id, slot, followers) VALUES ($1, $2, $3)
ON CONFLICT (user_id, slot) DO UPDATE SET followers = s.followers + $3
"""

# The row first: whoever increments it directly is then behind us, and whoever uses a slot is not in our way.
_LOCK: Final = "SELECT followers, slotted FROM user_counts WHERE user_id = $1 FOR NO KEY UPDATE"

_TAKE_SLOTS: Final = "DELETE FROM user_count_slots WHERE user_id = $1 RETURNING followers"

_FOLD: Final = "UPDATE user_counts SET followers = followers + $2, slotted = $3 WHERE user_id = $1"

_MEND: Final = "UPDATE user_counts SET followers = followers + $2, following = following + $3 WHERE user_id = $1"

_TO_FOLD: Final = """
SELECT DISTINCT user_id FROM user_count_slots WHERE user_id > $1 ORDER BY user_id LIMIT $2
"""

# Reads every counter: for now and then. A follow marks the row by itself when it reaches the threshold.
_TO_SLOT: Final = """
SELECT user_id FROM user_counts WHERE followers >= $1 AND NOT slotted LIMIT $2
"""

_NEXT: Final = """
SELECT user_id, followers + following AS edges FROM user_counts WHERE user_id > $1 ORDER BY user_id LIMIT $2
"""

# One statement is one snapshot: edges and counters change together, so that any difference in it is real.
_SAMPLE: Final = """
SELECT c.user_id,
       c.followers + coalesce((SELECT sum(s.followers) FROM user_count_slots s WHERE s.user_id = c.user_id), 0)::bigint
           AS followers,
       c.following,
       (SELECT count(*) FROM relationships r WHERE r.owner_id = c.user_id AND r.followed_by = 2) AS real_followers,
       (SELECT count(*) FROM relationships r WHERE r.owner_id = c.user_id AND r.follows = 2) AS real_following
FROM user_counts c
WHERE c.user_id = ANY($1::bigint[])
"""

_USE: Final = """
SELECT c.followers + coalesce((SELECT sum(s.followers) FROM user_count_slots s WHERE s.user_id = c.user_id), 0)::bigint
           AS followers,
       c.following,
       (SELECT count(*) FROM relationships r WHERE r.owner_id = c.user_id AND r.follows = 1) AS waiting
FROM user_counts c
WHERE c.user_id = $1
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Threshold:
    """From how many followers on a person is counted in slots, and below how many no longer."""

    enter: int = 100_000
    leave: int = 90_000


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """What a person's counters say, and what the edges say."""

    user_id: int
    counted: Counts
    real: Counts

    @property
    def is_right(self) -> bool:
        """Tell whether both agree."""
        return self.counted == self.real


@dataclasses.dataclass(frozen=True, slots=True)
class FollowUse:
    """What counts towards the limits on following: the counters, and the requests that wait."""

    counts: Counts
    waiting: int


DEFAULT_THRESHOLD: Final = Threshold()


async def fetch_follow_use(cell: Cell, user_id: int) -> FollowUse:
    """Fetch how much of the limits a person uses."""
    rows = await cell.fetch(_USE, user_id)
    if not rows:
        return FollowUse(Counts(), 0)
    return FollowUse(Counts(rows[0]["followers"], rows[0]["following"]), rows[0]["waiting"])


async def move_counts(connection: Connection, changes: Mapping[int, CountChange]) -> dict[int, Counts]:
    """Move counters, the lower id first so that no two transactions wait for each other, and last of all writes.

    Gives the counters afterwards of the rows that were moved directly.
    """
    moved, spread = {}, []
    for user_id in sorted(user_id for user_id, change in changes.items() if change):
        change = changes[user_id]
        enter = DEFAULT_THRESHOLD.enter
        rows = await connection.fetch(_MOVE, user_id, change.followers, change.following, enter)
        if rows:
            moved[user_id] = Counts(rows[0]["followers"], rows[0]["following"])
        else:
            spread.append(user_id)
    for user_id in spread:  # last: a slot is locked for no longer than the commit takes
        slot = random.randrange(SLOTS)  # noqa: S311 - no secret: it spreads writers
        await connection.execute(_MOVE_SLOT, user_id, slot, changes[user_id].followers)
    return moved


async def fold(cell: Cell, threshold: Threshold, *, limit: int = 100) -> int:
    """Fold slots into their rows, and look through all counters for those that have passed the threshold."""
    for row in await cell.fetch(_TO_SLOT, threshold.enter, limit):
        await _fold_one(cell, row["user_id"], threshold)
    return await fold_slots(cell, threshold, limit=limit)


async def fold_slots(cell: Cell, threshold: Threshold, *, limit: int = 100) -> int:
    """Fold slots into their rows, and switch rows back below the threshold; gives how many people there were."""
    rows = await cell.fetch(_TO_FOLD, 0, limit)
    for row in rows:
        await _fold_one(cell, row["user_id"], threshold)
    return len(rows)


async def _fold_one(cell: Cell, user_id: int, threshold: Threshold) -> None:
    async def work(connection: Connection) -> None:
        [row] = await connection.fetch(_LOCK, user_id)
        waiting = sum(slot["followers"] for slot in await connection.fetch(_TAKE_SLOTS, user_id))
        followers = row["followers"] + waiting
        slotted = followers >= (threshold.leave if row["slotted"] else threshold.enter)
        await connection.execute(_FOLD, user_id, waiting, slotted)

    await cell.transact(work)


async def fetch_next_to_sample(cell: Cell, *, after: int, limit: int, edges: int) -> list[int]:
    """Fetch the next people after an id: at most `limit`, with at most about `edges` edges, and at least one."""
    chosen: list[int] = []
    for row in await cell.fetch(_NEXT, after, limit):
        edges -= row["edges"]
        if chosen and edges < 0:
            break
        chosen.append(row["user_id"])
    return chosen


async def sample(cell: Cell, user_ids: Sequence[int]) -> list[Sample]:
    """Compare the counters of some people with their edges."""
    return [_sample_of(row) for row in await cell.fetch(_SAMPLE, user_ids)]


def _sample_of(row: Record) -> Sample:
    counted = Counts(row["followers"], row["following"])
    return Sample(row["user_id"], counted, Counts(row["real_followers"], row["real_following"]))


async def repair(cell: Cell, user_ids: Sequence[int]) -> int:
    """Set counters that are wrong to what the edges say; gives how many were."""
    return sum([await _repair_one(cell, user_id) for user_id in user_ids])


async def _repair_one(cell: Cell, user_id: int) -> bool:
    async def work(connection: Connection) -> bool:
        # The difference is added, so that whatever moves meanwhile stays; the lock keeps it from being added twice.
        await connection.fetch(_LOCK, user_id)
        [found] = map(_sample_of, await connection.fetch(_SAMPLE, [user_id]))
        if found.is_right:
            return False
        difference = CountChange(
            found.real.followers - found.counted.followers, found.real.following - found.counted.following
        )
        await connection.execute(_MEND, user_id, difference.followers, difference.following)
        return True

    return await cell.transact(work)
