"""Follow, block, accept and unblock from sixteen clients at once, on one cell and on two, with the lock and without it.

`PROVE=long` runs ten thousand actions; otherwise a few hundred are run.
"""

import asyncio
import concurrent.futures
import contextlib
import datetime as dt
import multiprocessing
import os
import sys

import pytest

from domain.errors import Overloaded
from domain.relationships import Relationship
from domain.transitions import follow
from storage import cells, pairs, pairs_at_once
from storage.cells import Connection, open_cells
from storage.counters import Threshold
from storage.database import Database
from storage.pairs import change_pair
from storage.relationships import relationship_of
from tests.conftest import MakePerson
from tests.integration.test_counters import folding
from tests.proof.leaks.service import patiently
from tests.proof.races.crowd import PEOPLE, Crowd, Record, Verdict, judge, open_clients
from tests.proof.races.throughput import measure

OPERATIONS = 11_200 if os.environ.get("PROVE") == "long" else 670  # a tenth of them only look

READ = """
SELECT follows, follows_at, followed_by, followed_by_at, blocks, blocks_until, blocked_by, blocked_by_until,
       blocks_since, blocked_by_since, mutes, mutes_until, version, follows_version, followed_by_version
FROM relationships WHERE owner_id = $1 AND other_id = $2
"""


async def race(
    database: Database,
    dsns: tuple[str, ...],
    make_person: MakePerson,
    operations: int,
    *,
    hot_share: float,
    known_share: float = 0.7,
) -> tuple[Verdict, Record]:
    people = [(await patiently(make_person)).id for _ in range(PEOPLE)]
    async with open_clients(dsns, database) as clients:
        record = await Crowd(clients, people, seed=20, hot_share=hot_share, known_share=known_share).act(operations)
    verdict = await judge(database, people, record)
    done = sum(len(history) for history in record.histories.values())
    sys.stdout.write(
        f"{len(dsns)} cell(s): {done} actions on {len(record.histories)} pairs, {len(record.looks)} looks, "
        f"{record.unanswered} without an answer: {verdict}\n"
    )
    return verdict, record


async def test_every_pair_goes_through_one_order_and_nothing_is_miscounted(
    database: Database, dsns: tuple[str, ...], make_person: MakePerson
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for cell in database.shards.cells:  # all the while, counters go into slots and out again
            await stack.enter_async_context(folding(cell, [Threshold(2, 1), Threshold(1000, 999)]))
        verdict, record = await race(database, dsns, make_person, OPERATIONS, hot_share=0.6)
    assert verdict == Verdict(0, 0, 0, 0, 0, 0)
    # A busy machine has some refused, of which only less can be said: most must have been answered.
    assert record.unanswered <= OPERATIONS // 10
    assert len(record.looks) >= OPERATIONS // 20
    assert max(len(history) for history in record.histories.values()) >= OPERATIONS // 20


async def test_without_the_lock_the_same_race_goes_wrong(
    database: Database, dsns: tuple[str, ...], make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(connection: Connection, owner_id: int, other_id: int) -> Relationship:
        rows = await connection.fetch(READ, owner_id, other_id)
        await asyncio.sleep(0)
        return relationship_of(rows[0]) if rows else Relationship()

    monkeypatch.setattr(pairs, "_lock", read)
    number = max(300, OPERATIONS // 10)
    verdict, _ = await race(database, dsns, make_person, number, hot_share=1.0, known_share=0.0)
    assert verdict.not_linearizable > 0
    assert verdict.miscounted > 0


async def test_without_a_look_at_the_version_what_is_known_goes_wrong(
    database: Database, dsns: tuple[str, ...], make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    for begins, statement in pairs_at_once._STATEMENTS.items():
        blind = statement.replace("r.version = $37", "$37::bigint IS NOT NULL")
        assert blind != statement
        monkeypatch.setitem(pairs_at_once._STATEMENTS, begins, blind)
    number = max(300, OPERATIONS // 10)
    verdict, _ = await race(database, dsns, make_person, number, hot_share=1.0, known_share=1.0)
    assert verdict.not_linearizable > 0


async def test_whoever_waits_too_long_for_a_lock_is_told_to_repeat(
    database: Database, dsns: tuple[str, ...], make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana, bo = await make_person(cell=0), await make_person(cell=0)
    held, let_go = asyncio.Event(), asyncio.Event()

    async def hold(connection: Connection) -> None:
        await pairs._lock(connection, *sorted((ana.id, bo.id)))
        held.set()
        await let_go.wait()

    monkeypatch.setitem(cells._SERVER_SETTINGS, "lock_timeout", "100ms")
    async with open_cells(dsns, connections=1) as hurried:
        holding = asyncio.create_task(database.shards.directory.transact(hold))
        await held.wait()
        try:
            with pytest.raises(Overloaded):
                await change_pair(
                    Database(hurried, database.ids),
                    ana.id,
                    bo.id,
                    follow(target_is_private=False),
                    dt.datetime.now(dt.UTC),
                )
        finally:
            let_go.set()
            await holding


async def test_follows_of_one_account_from_several_processes_are_counted_exactly_with_slots_and_without(
    dsns: tuple[str, ...],
) -> None:
    """Run the first round of the measurement, which only warms up: rates would say nothing here."""
    if len(dsns) > 1:
        pytest.skip("one cell shows it")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        result = await measure(dsns[0], pool, rounds=0, size=0)
    assert result.wrong == 0
