"""People of an import: old ids are given Kith ids and names in the directory cell, accounts in their home cells.

A batch is three transactions: names and ids are claimed, accounts written, the batch ticked off. A batch that was
interrupted is dealt with again whole, and each of the three finds what it has done.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from domain.ids import CELL_BITS, RANDOM_BITS, cell_of
from domain.policies import PrivacyPolicy, write_policy
from domain.usernames import username_skeleton
from storage.cells import Connection
from storage.import_files import Files, batched
from storage.import_rows import DUPLICATE_ID, USERNAME_TAKEN, Reject, UserRow
from storage.import_runs import PEOPLE_FILE, Cells, Pool, Run, advance, reject, transact

_KNOWN: Final = """
SELECT old_id, user_id, run, line, pending_username
FROM imported_users
WHERE source = $1 AND old_id = ANY($2::text[])
"""

_TAKEN: Final = "SELECT name_key FROM usernames WHERE name_key = ANY($1::text[])"

_NUMBERS: Final = "SELECT nextval('imported_user_numbers') AS number FROM generate_series(1, $1::bigint)"

_CLAIM: Final = """
INSERT INTO usernames (name_key, user_id, claimed_at)
SELECT n.name_key, n.user_id, now()
FROM unnest($1::text[], $2::bigint[]) AS n (name_key, user_id)
ORDER BY n.name_key
ON CONFLICT (name_key) DO NOTHING
RETURNING name_key
"""

# People of another service keep their names, also where two look alike: the first of them keeps others from it.
_TAKE_SKELETONS: Final = """
INSERT INTO username_skeletons (skeleton, user_id)
SELECT n.skeleton, n.user_id
FROM unnest($1::text[], $2::bigint[]) AS n (skeleton, user_id)
ORDER BY n.skeleton
ON CONFLICT (skeleton) DO NOTHING
"""

_REMEMBER: Final = """
INSERT INTO imported_users (old_id, source, user_id, run, line, pending_username)
SELECT p.old_id, $1, p.user_id, $2, p.line, p.username
FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::text[]) AS p (old_id, user_id, line, username)
"""

_SEE_AGAIN: Final = """
UPDATE imported_users u
SET run = $2, line = p.line
FROM unnest($3::text[], $4::bigint[]) AS p (old_id, line)
WHERE u.old_id = p.old_id AND u.source = $1
"""

_WRITE: Final = """
INSERT INTO users (id, username, display_name, bio, avatar_url, pronouns, location, policy, created_at, updated_at)
SELECT p.id, p.username, p.display_name, p.bio, p.avatar_url, p.pronouns, p.location, p.policy, p.created_at,
       p.created_at
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::timestamptz[])
     AS p (id, username, display_name, bio, avatar_url, pronouns, location, policy, created_at)
ON CONFLICT (id) DO NOTHING
"""

_WRITE_COUNTS: Final = """
INSERT INTO user_counts (user_id) SELECT unnest($1::bigint[]) ON CONFLICT (user_id) DO NOTHING
"""

_SETTLE: Final = """
UPDATE imported_users SET pending_username = NULL WHERE source = $1 AND old_id = ANY($2::text[])
"""

_POLICIES: Final = {is_private: write_policy(PrivacyPolicy(is_private=is_private)) for is_private in (False, True)}


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """An old id that has its Kith id (0 until it is claimed), and the row that was the last to name it."""

    user_id: int
    run: str
    line: int
    pending_username: str | None


@dataclasses.dataclass(slots=True)
class Plan:
    """What is to become of a batch."""

    claims: list[UserRow] = dataclasses.field(default_factory=list)
    seen_again: list[UserRow] = dataclasses.field(default_factory=list)
    rejects: list[Reject] = dataclasses.field(default_factory=list)
    unwritten: list[tuple[int, UserRow]] = dataclasses.field(default_factory=list)


def imported_id(number: int, cells: int) -> int:
    """Make the id of the imported account with this number; accounts go to the cells in turn.

    The number stands where other ids have time and chance, so that a clash is impossible: as a time it lies in the
    first minutes of 2020, when no id was made.
    """
    moment, rest = number >> RANDOM_BITS, number & ((1 << RANDOM_BITS) - 1)
    return (moment << (CELL_BITS + RANDOM_BITS)) | (number % cells << RANDOM_BITS) | rest


def plan_batch(batch: Sequence[UserRow], run: str, known: Mapping[str, Known], taken: set[str]) -> Plan:
    """Decide row by row: the first row of an id, and of a name, is the one that counts."""
    plan, known, taken = Plan(), dict(known), set(taken)
    for row in batch:
        found = known.get(row.old_id)
        if found is None and row.name_key in taken:
            plan.rejects.append(Reject(row.line, USERNAME_TAKEN))
            continue
        if found is not None and found.run == run and found.line != row.line:
            plan.rejects.append(Reject(row.line, DUPLICATE_ID))
            continue
        if found is None:
            plan.claims.append(row)
            taken.add(row.name_key)
        elif found.run != run:
            plan.seen_again.append(row)
        if found is not None and found.pending_username is not None:
            plan.unwritten.append((found.user_id, dataclasses.replace(row, username=found.pending_username)))
        known[row.old_id] = Known(0, run, row.line, None)
    return plan


async def load_people(cells: Cells, run: Run, files: Files, *, batch: int, report: Callable[[int], None]) -> None:
    """Load the people that `run` has not dealt with yet; `report` is told how many rows have been read."""
    read = run.people_read
    for rows in batched(files.read_users(), batch, skip=read):
        unwritten = await transact(cells.directory, partial(_claim, cells=cells, run=run, batch=rows))
        await _write(cells, run, unwritten)
        read += len(rows)
        await transact(cells.directory, partial(_tick_off, run=run, read=read, written=unwritten))
        report(read)


async def _claim(
    connection: Connection, cells: Cells, run: Run, batch: Sequence[UserRow | Reject]
) -> list[tuple[int, UserRow]]:
    """Give ids and names to the new people of a batch; gives everybody whose account is to be written."""
    rows = [row for row in batch if isinstance(row, UserRow)]
    known = await connection.fetch(_KNOWN, run.source, [row.old_id for row in rows])
    taken = await connection.fetch(_TAKEN, [row.name_key for row in rows])
    plan = plan_batch(
        rows,
        run.key,
        {old_id: Known(*rest) for old_id, *rest in map(tuple, known)},
        {row["name_key"] for row in taken},
    )
    claimed = await _claim_names(connection, len(cells.pools), plan)
    await _remember(connection, run, claimed, plan.seen_again)
    unreadable = [row for row in batch if isinstance(row, Reject)]
    await reject(connection, run, PEOPLE_FILE, unreadable + plan.rejects)
    return plan.unwritten + claimed


async def _claim_names(connection: Connection, cells: int, plan: Plan) -> list[tuple[int, UserRow]]:
    """Claim the names of new people; whoever signs up at this moment may be quicker."""
    if not plan.claims:
        return []
    numbers = await connection.fetch(_NUMBERS, len(plan.claims))
    people = [(imported_id(row["number"], cells), new) for row, new in zip(numbers, plan.claims, strict=True)]
    ids, rows = zip(*people, strict=True)
    claimed = {row["name_key"] for row in await connection.fetch(_CLAIM, [row.name_key for row in rows], ids)}
    skeletons = {
        username_skeleton(row.name_key): user_id for user_id, row in reversed(people) if row.name_key in claimed
    }
    await connection.execute(_TAKE_SKELETONS, list(skeletons), list(skeletons.values()))
    plan.rejects += [Reject(row.line, USERNAME_TAKEN) for row in rows if row.name_key not in claimed]
    return [(user_id, row) for user_id, row in people if row.name_key in claimed]


async def _remember(
    connection: Connection, run: Run, claimed: Sequence[tuple[int, UserRow]], seen_again: Sequence[UserRow]
) -> None:
    await connection.execute(
        _REMEMBER,
        run.source,
        run.key,
        [row.old_id for _, row in claimed],
        [user_id for user_id, _ in claimed],
        [row.line for _, row in claimed],
        [row.username for _, row in claimed],
    )
    old_ids, lines = [row.old_id for row in seen_again], [row.line for row in seen_again]
    await connection.execute(_SEE_AGAIN, run.source, run.key, old_ids, lines)


async def _write(cells: Cells, run: Run, people: Sequence[tuple[int, UserRow]]) -> None:
    """Write accounts, each in its home cell; one that is there is left as it is."""
    homes: dict[int, list[tuple[int, UserRow]]] = {}
    for user_id, row in people:
        homes.setdefault(cell_of(user_id), []).append((user_id, row))
    await asyncio.gather(*(_write_home(cells.pools[home], run, group) for home, group in homes.items()))


async def _write_home(pool: Pool, run: Run, people: Sequence[tuple[int, UserRow]]) -> None:
    ids = [user_id for user_id, _ in people]
    columns = list(zip(*(_columns(row, run.started_at) for _, row in people), strict=True))

    async def work(connection: Connection) -> None:
        await connection.execute(_WRITE, ids, *columns)
        await connection.execute(_WRITE_COUNTS, ids)

    await transact(pool, work)


def _columns(row: UserRow, now: dt.datetime) -> tuple[str | dt.datetime | None, ...]:
    profile = (row.username, row.display_name, row.bio, row.avatar_url, row.pronouns, row.location)
    return (*profile, _POLICIES[row.is_private], row.created_at or now)


async def _tick_off(connection: Connection, run: Run, read: int, written: Sequence[tuple[int, UserRow]]) -> None:
    await connection.execute(_SETTLE, run.source, [row.old_id for _, row in written])
    await advance(connection, run, read, len(written))
