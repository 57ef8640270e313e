"""The hot statements on a full database: an index for every table, no table read whole, and what Citus asks of SQL."""

import importlib
import json
import pkgutil
import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest

import storage
from embedded import Addresses
from storage import (
    list_heads,
    lists,
    notifications,
    outbox_reading,
    own_lists,
    pairs,
    pairs_at_once,
    relationships,
    tallies,
    users,
)
from storage.migrate import migrate

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

DISTRIBUTED_BY: Final[Mapping[str, str]] = {
    "users": "id",
    "user_counts": "user_id",
    "user_count_slots": "user_id",
    "relationships": "owner_id",
    "notifications": "owner_id",
    "audit_logs": "actor_id",
    "request_resolutions": "owner_id",
    "usernames": "name_key",
}

FILL: Final = (
    """
    INSERT INTO users (id, username, policy, created_at, updated_at)
    SELECT n, 'u' || n, '{}', now(), now() FROM generate_series(1, 5000) n
    """,
    "INSERT INTO user_counts (user_id, followers) SELECT n, 20 FROM generate_series(1, 5000) n",
    """
    INSERT INTO user_count_slots (user_id, slot, followers)
    SELECT n, s, 1 FROM generate_series(1, 100) n, generate_series(0, 15) s
    """,
    "INSERT INTO usernames (name_key, user_id, claimed_at) SELECT 'u' || n, n, now() FROM generate_series(1, 5000) n",
    # Twenty others each: half follow, a third are followed, and one or another asks, is asked, blocks or mutes.
    """
    INSERT INTO relationships (owner_id, other_id, follows, followed_by, follows_at, followed_by_at, blocks,
                               blocks_since, mutes, mutes_since)
    SELECT n, 1 + (n + 7 * k) % 5000,
           CASE WHEN k % 19 = 5 THEN 0 WHEN k % 2 = 0 THEN 2 WHEN k % 7 = 0 THEN 1 ELSE 0 END,
           CASE WHEN k % 19 = 5 THEN 0 WHEN k % 3 = 0 THEN 2 WHEN k % 11 = 0 THEN 1 ELSE 0 END,
           now() - k * interval '1 h', now() - k * interval '1 h', k % 19 = 5, now(), k = 9, now()
    FROM generate_series(1, 5000) n, generate_series(1, 20) k
    """,
    """
    INSERT INTO notifications (owner_id, sequence, event_id, kind, actor_id, created_at)
    SELECT n, k, gen_random_uuid(), 1, k, now() FROM generate_series(1, 5000) n, generate_series(1, 8) k
    """,
    """
    INSERT INTO notification_groups (owner_id, filtered, burst, kind, total, unread)
    SELECT n, false, k, 1, 8, 8 FROM generate_series(1, 5000) n, generate_series(1, 4) k
    """,
    """
    INSERT INTO outbox (transaction_id, id, aggregatetype, aggregateid, type, payload)
    SELECT (n / 10)::text::xid8, gen_random_uuid(), 'social', 'k' || n % 700, 'follow.created', '{}'
    FROM generate_series(1, 15000) n
    """,
    "ANALYZE",
)


@pytest.fixture(scope="module")
async def full(addresses: Addresses) -> AsyncIterator[Connection]:
    """Give a connection, set as the pools are, to a database of its own that is full enough for the planner to care."""
    base = addresses.postgres_dsns[0]
    name = f"explain_{uuid.uuid4().hex}"
    owner = await asyncpg.connect(base)
    await owner.execute(f'CREATE DATABASE "{name}"')
    dsn = base.replace("/kith_0", f"/{name}")
    await migrate([dsn], lambda _line: None)
    connection = await asyncpg.connect(dsn)
    for statement in FILL:
        await connection.execute(statement)
    yield connection
    await connection.close()
    await owner.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await owner.close()


HOT: Final[Mapping[str, str]] = {
    **{f"{kind.value}, {'down' if down else 'up'}": text for (kind, down), text in lists._STATEMENTS.items()},
    **{f"the head of {kind.value}": text for kind, text in list_heads.STATEMENTS.items()},
    "whom the viewer follows": lists._FOLLOWED,
    "whom a block hides": lists._BLOCKED,
    "the blocks of the viewer": lists._BLOCKS,
    "what shows of many": tallies._FETCH_SHOWN,
    "what the viewer is to many": relationships._FETCH,
    "people": tallies._FETCH_PEOPLE,
    "people, and nobody who is counted": users._FETCH,
    "counts": tallies._FETCH,
    "names": users._FETCH_IDS,
    "a person under lock": users._FETCH_LOCKED,
    "a changed profile": users._UPDATE,
    "notifications after": notifications._FETCH_AFTER,
    "the latest notification": notifications._FETCH_HEAD,
    "the next notification": notifications._NEXT,
    "a counter": "UPDATE user_counts SET followers = followers + $2, following = following + $3 WHERE user_id = $1",
}
OUTBOX: Final[Mapping[str, str]] = {
    "what is new": outbox_reading._FETCH_NEW,
    "the rest of an interval": outbox_reading._FETCH_REST,
    "the rows of keys": outbox_reading._FETCH_OF_KEYS,
    "the keys that acted last": outbox_reading._FETCH_LATEST_KEYS,
    "what waits": outbox_reading._FETCH_BACKLOG,
}
UPSERTS: Final[Mapping[str, str]] = {"the lock of a pair": pairs._LOCK, "a side of a pair": pairs._WRITE}
AT_ONCE: Final[Mapping[str, str]] = {
    f"a pair that {'begins' if begins else 'goes on'}{', with what was told' if withdraws else ''}": text
    for (begins, withdraws), text in pairs_at_once._STATEMENTS.items()
}
BIG: Final = ("users", "user_counts", "usernames", "relationships", "notifications", "outbox")


async def plan_of(connection: Connection, statement: str, known: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Plan a statement without values, as its first execution under force_generic_plan does.

    Values that are `known` only tell which parts of a partitioned table need not be looked at.
    """
    name = f"s{uuid.uuid4().hex}"
    numbers = [int(number) for number in re.findall(r"\$(\d+)", statement)]
    values = ", ".join((known or {}).get(number, "NULL") for number in range(1, max(numbers) + 1))
    await connection.execute(f"PREPARE {name} AS {statement}")
    [row] = await connection.fetch(f"EXPLAIN (FORMAT JSON) EXECUTE {name}({values})")
    await connection.execute(f"DEALLOCATE {name}")
    plan: dict[str, Any] = json.loads(row[0])[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def indexes_of(plan: dict[str, Any]) -> set[str]:
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def read_whole(plan: dict[str, Any]) -> list[str]:
    return [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"]


async def test_the_databases_plan_without_values(full: Connection) -> None:
    [row] = await full.fetch("SHOW plan_cache_mode")
    assert row["plan_cache_mode"] == "force_generic_plan"


@pytest.mark.parametrize("name", HOT)
async def test_a_hot_statement_uses_one_index_per_table_that_it_names_and_reads_none_whole(
    full: Connection, name: str
) -> None:
    plan = await plan_of(full, HOT[name])
    assert read_whole(plan) == []
    used = indexes_of(plan)
    tables = {
        row["relation"]
        for row in await full.fetch(
            "SELECT indrelid::regclass::text AS relation FROM pg_index WHERE indexrelid::regclass::text = ANY($1)",
            sorted(used),
        )
    }
    named = re.findall(r"\b(?:FROM|JOIN|UPDATE|INTO)\s+([a-z_]+)", HOT[name])
    assert len(tables) <= len(used) <= len(named), used
    assert set(named) == tables
    conditions = " ".join(str(node.get("Index Cond", "")) for node in nodes(plan))
    for table in tables & DISTRIBUTED_BY.keys():
        assert DISTRIBUTED_BY[table] in conditions


@pytest.mark.parametrize("name", OUTBOX)
async def test_the_relay_reads_no_day_of_the_outbox_whole_but_those_that_are_empty(full: Connection, name: str) -> None:
    retention = {4: "'24 h'"} if "$4::interval" in OUTBOX[name] else {}
    plan = await plan_of(full, OUTBOX[name], retention)
    assert "outbox_first" not in read_whole(plan)
    assert any(index.startswith("outbox_first_") for index in indexes_of(plan))


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        ("followers", "relationships_followers"),
        ("following", "relationships_following"),
        ("requests", "relationships_requests"),
        ("asked", "relationships_asked"),
        ("blocked", "relationships_blocked"),
        ("muted", "relationships_muted"),
    ],
)
async def test_each_list_has_the_index_made_for_it_and_is_not_sorted_as_a_whole(
    full: Connection, kind: str, index: str
) -> None:
    for direction in ("down", "up"):
        plan = await plan_of(full, HOT[f"{kind}, {direction}"])
        assert index in indexes_of(plan)


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("kind", ["followers", "following"])
async def test_a_page_of_a_public_list_is_read_in_order_and_never_sorted(
    full: Connection, kind: str, direction: str
) -> None:
    plan = await plan_of(full, HOT[f"{kind}, {direction}"])
    assert [node["Node Type"] for node in nodes(plan) if "Sort" in node["Node Type"]] == []


@pytest.mark.parametrize("name", UPSERTS)
async def test_an_upsert_finds_its_row_by_the_primary_key(full: Connection, name: str) -> None:
    plan = await plan_of(full, UPSERTS[name])
    assert plan["Conflict Arbiter Indexes"] == ["relationships_pkey"]
    assert read_whole(plan) == []


@pytest.mark.parametrize("name", AT_ONCE)
async def test_a_change_at_once_finds_all_its_rows_by_indexes(full: Connection, name: str) -> None:
    assert read_whole(await plan_of(full, AT_ONCE[name])) == []


async def test_what_was_told_is_withdrawn_by_indexes(full: Connection) -> None:
    of_one, of_both = await full.fetch(
        "SELECT prosrc, provolatile FROM pg_proc WHERE proname = 'withdraw_told' ORDER BY pronargs"
    )
    [text] = re.findall(r"(WITH .*?);", of_one["prosrc"], re.DOTALL)
    for number, name in enumerate(("told_id", "doer_id", "ended"), start=1):
        text = re.sub(rf"\b{name}\b", f"${number}", text)
    plan = await plan_of(full, text.replace("INTO groups", "AS groups"))
    assert read_whole(plan) == []
    assert indexes_of(plan) >= {"notification_groups_pkey"}
    assert "UPDATE" not in of_both["prosrc"], "what is done is said once, in the one that is explained here"
    for row in (of_one, of_both):
        assert row["provolatile"] == b"v", "what the statement that calls it has waited for is seen"


async def test_a_statement_that_reads_a_table_whole_is_found(full: Connection) -> None:
    plan = await plan_of(full, "SELECT owner_id FROM relationships WHERE version = $1")
    assert read_whole(plan) == ["relationships"]


# What the text itself must hold to


def statements() -> dict[str, str]:
    """Give every constant of storage/ that is SQL, by module and name."""
    found = {}
    for module in pkgutil.iter_modules(storage.__path__):
        if module.name.startswith("import_"):
            continue  # run by hand, over whole cells
        loaded = importlib.import_module(f"storage.{module.name}")
        for name, value in vars(loaded).items():
            if isinstance(value, str) and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", value):
                found[f"{module.name}.{name}"] = value
    return found


OVER_A_CELL: Final = {
    "counters._NEXT",
    "counters._TO_FOLD",
    "counters._TO_SLOT",
    "expiries._BLOCKS",
    "expiries._REQUESTS",
    "expiries._MUTES",
    "names._LAPSED",
    "names._LET_GO",
    "names._NAMES_OF",
    "names._PENDING",
    "names._SUPERSEDE",
    "held_names._FORGET_HOLDER",
    "held_names._FREE_SKELETONS",
    "held_names._RELEASE",
    "requests._FETCH_DUE",
}
"""The upkeep job's own questions: over all owners of a cell, one process at a time. Those by the holder of a name go
over the first cell as well; they are asked when somebody takes another name, which is seldom."""


def tables_of(statement: str) -> set[str]:
    """Name the distributed tables that a statement reads or writes by a WHERE clause."""
    named = re.findall(r"\b(?:FROM|JOIN|UPDATE)\s+([a-z_]+)", statement)
    return {table for table in named if table in DISTRIBUTED_BY}


def lacks_key(statement: str) -> list[str]:
    """Name the tables whose distribution column no condition binds to a value or to another table's."""
    bound = set(re.findall(r"([a-z_]+)\s*=\s*(?:ANY\()?(?:\$\d|[a-z]+\.[a-z_]+)", statement))
    return sorted(table for table in tables_of(statement) if DISTRIBUTED_BY[table] not in bound)


def set_by_conflict(statement: str) -> str:
    found = re.search(r"DO UPDATE\s+SET(.*?)(?:\bWHERE\b|\bRETURNING\b|$)", statement, re.DOTALL)
    return found.group(1) if found else ""


def volatile_parts(statement: str) -> list[str]:
    """Find calls of functions in what a conflict sets, beyond those that always give the same for the same."""
    calls = re.findall(r"([a-z_]+)\s*\(", set_by_conflict(statement))
    return [call for call in calls if call not in {"coalesce", "greatest", "least"}]


@pytest.mark.parametrize("name", sorted(statements()))
def test_every_statement_names_the_column_that_its_table_is_distributed_by(name: str) -> None:
    if name in OVER_A_CELL:
        pytest.skip("asked over a whole cell, by one process")
    assert lacks_key(statements()[name]) == []


@pytest.mark.parametrize("name", sorted(statements()))
def test_what_a_conflict_sets_is_the_same_wherever_it_is_computed(name: str) -> None:
    assert volatile_parts(statements()[name]) == []


def test_the_exceptions_are_statements_that_exist() -> None:
    assert set(statements()) >= OVER_A_CELL
    assert own_lists.OWN_STATEMENTS.keys() <= lists._STATEMENTS.keys()


def test_statements_that_break_the_rules_are_found() -> None:
    assert lacks_key("SELECT 1 FROM relationships WHERE other_id = $1") == ["relationships"]
    assert lacks_key("SELECT 1 FROM users u JOIN user_counts c ON c.user_id = u.id WHERE u.id = $1") == []
    assert lacks_key("UPDATE users SET version = $2 WHERE username = $1") == ["users"]
    upsert = "INSERT INTO users (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET updated_at = now() WHERE users.id = $1"
    assert volatile_parts(upsert) == ["now"]
    assert volatile_parts(upsert.replace("now()", "excluded.updated_at")) == []
