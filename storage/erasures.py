"""What is kept of a person, store by store, and how each is erased.

Every table is either erased here or kept for a reason that is given here; a test holds every migration to it. Each
erasure may be repeated and left at any point; what has been erased is not found again.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from storage.cells import Cell, Connection, Record
from storage.database import Database
from storage.departures import withdraw_follows
from storage.held_names import hold_names
from storage.notifications import uncount

BATCH: Final = 200

_OTHERS: Final = "SELECT other_id FROM relationships WHERE owner_id = $1 ORDER BY other_id LIMIT $2"

_TOLD_OF: Final = """
SELECT DISTINCT owner_id FROM notifications WHERE owner_id = ANY($1::bigint[]) AND actor_id = $2
"""

# As whoever adds a notification does: first the row of counters, then rows, then groups.
_LOCK: Final = "SELECT FROM user_counts WHERE user_id = $1 FOR NO KEY UPDATE"

_UNTELL: Final = """
DELETE FROM notifications WHERE owner_id = $1 AND actor_id = $2
RETURNING filtered, burst, kind, sequence, read_at, withdrawn
"""

_ARCHIVES_NAMING: Final = """
DELETE FROM archived_edges WHERE user_id = ANY($1::bigint[]) AND other_id = $2 RETURNING true
"""

_OTHER_SIDES: Final = "DELETE FROM relationships WHERE owner_id = ANY($1::bigint[]) AND other_id = $2 RETURNING true"

_OWN_SIDES: Final = "DELETE FROM relationships WHERE owner_id = $1 AND other_id = ANY($2::bigint[]) RETURNING true"

_ARCHIVE: Final = """
WITH first AS (SELECT other_id FROM archived_edges WHERE user_id = $1 ORDER BY other_id LIMIT $2)
DELETE FROM archived_edges a USING first f WHERE a.user_id = $1 AND a.other_id = f.other_id RETURNING true
"""

_NOTIFICATIONS: Final = """
WITH first AS (SELECT sequence FROM notifications WHERE owner_id = $1 ORDER BY sequence LIMIT $2)
DELETE FROM notifications n USING first f WHERE n.owner_id = $1 AND n.sequence = f.sequence RETURNING true
"""

_REPEATS: Final = """
WITH first AS (SELECT name FROM repeats WHERE user_id = $1 LIMIT $2)
DELETE FROM repeats r USING first f WHERE r.user_id = $1 AND r.name = f.name RETURNING true
"""

_REPEAT_EFFECTS: Final = """
WITH first AS (SELECT name, field FROM repeat_effects WHERE user_id = $1 LIMIT $2)
DELETE FROM repeat_effects e USING first f
WHERE e.user_id = $1 AND e.name = f.name AND e.field = f.field
RETURNING true
"""

_OF_OWNER: Final = "DELETE FROM {table} WHERE {column} = $1 RETURNING true"

_IMPORTED: Final = "DELETE FROM imported_users WHERE user_id = $1 RETURNING true"

Erase = Callable[[Database, int], Awaitable[int]]


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """One place where something of a person is kept: its tables, what erases it, and how a certificate says so."""

    name: str
    statement: str
    erase: Erase
    tables: tuple[str, ...] = ()


async def _erase_follows(database: Database, user_id: int) -> int:
    """End what is left of the follows, so that others' counters are right."""
    ended = 0
    while found := await withdraw_follows(database, user_id, limit=BATCH):
        ended += found
    return ended


async def _erase_relations(database: Database, user_id: int) -> int:
    """Erase what the person and others are to each other, on both sides, and what others were told of the person.

    The own row goes last: while it is there, a purge that was interrupted finds the other again.
    """
    home, erased = database.shards.home(user_id), 0
    while rows := await home.fetch(_OTHERS, user_id, BATCH):
        others = [row["other_id"] for row in rows]
        for cell in database.shards.cells:
            erased += len(await cell.fetch(_ARCHIVES_NAMING, others, user_id))
        for cell, ids in database.shards.group(others).items():
            erased += await _erase_at_others(cell, ids, user_id)
        erased += len(await home.fetch(_OWN_SIDES, user_id, others))
    return erased


async def _erase_at_others(cell: Cell, others: Sequence[int], user_id: int) -> int:
    erased = 0
    for row in await cell.fetch(_TOLD_OF, others, user_id):
        erased += await _untell(cell, row["owner_id"], user_id)
    return erased + len(await cell.fetch(_OTHER_SIDES, others, user_id))


async def _untell(cell: Cell, owner_id: int, actor_id: int) -> int:
    async def work(connection: Connection) -> int:
        await connection.fetch(_LOCK, owner_id)
        rows: list[Record] = await connection.fetch(_UNTELL, owner_id, actor_id)
        await uncount(connection, owner_id, [row for row in rows if not row["withdrawn"]], gone=True)
        return len(rows)

    return await cell.transact(work)


async def _erase_archive(database: Database, user_id: int) -> int:
    return sum([await _in_batches(cell, _ARCHIVE, user_id) for cell in database.shards.cells])


async def _erase_notifications(database: Database, user_id: int) -> int:
    return await _in_batches(database.shards.home(user_id), _NOTIFICATIONS, user_id)


async def _in_batches(cell: Cell, statement: str, user_id: int) -> int:
    erased = 0
    while rows := await cell.fetch(statement, user_id, BATCH):
        erased += len(rows)
    return erased


def _rows_of(table: str, column: str) -> Erase:
    """Erase the rows of one table in the person's own cell; of each there are few."""
    statement = _OF_OWNER.format(table=table, column=column)

    async def erase(database: Database, user_id: int) -> int:
        return len(await database.shards.home(user_id).fetch(statement, user_id))

    return erase


async def _erase_imported(database: Database, user_id: int) -> int:
    return len(await database.shards.directory.fetch(_IMPORTED, user_id))


async def _erase_repeats(database: Database, user_id: int) -> int:
    effects = [await _in_batches(cell, _REPEAT_EFFECTS, user_id) for cell in database.shards.cells]
    return sum(effects) + await _in_batches(database.shards.home(user_id), _REPEATS, user_id)


def _own(table: str, column: str, what: str) -> Store:
    return Store(what, f"{table}: rows of the person deleted", _rows_of(table, column), (table,))


STORES: Final[Sequence[Store]] = (
    _own("data_keys", "user_id", "key of personal details, without which their copies are noise"),
    _own("personal_details", "user_id", "personal details"),
    Store("follows", "follows and requests ended, as by the person", _erase_follows),
    Store(
        "relations",
        "relationships, archived_edges, notifications: rows of others that name the person deleted, then the person's",
        _erase_relations,
        ("relationships",),
    ),
    Store("archive", "archived_edges: rows of the person deleted", _erase_archive, ("archived_edges",)),
    Store("notifications", "notifications: rows of the person deleted", _erase_notifications, ("notifications",)),
    _own("notification_groups", "owner_id", "groups of notifications"),
    _own("notification_trims", "owner_id", "trims of notifications"),
    _own("notification_preferences", "owner_id", "preferences"),
    _own("consents", "owner_id", "ledger of consents"),
    _own("user_count_slots", "user_id", "slots of counters"),
    _own("user_counts", "user_id", "counters"),
    _own("request_resolutions", "owner_id", "decisions on requests"),
    _own("inbox", "owner_id", "inbox"),
    _own("departures", "user_id", "departures"),
    _own("exports", "user_id", "export and its archive"),
    _own("username_changes", "user_id", "changes of the name"),
    _own("revocations", "user_id", "revocations of tokens"),
    Store(
        "repeats", "repeats, repeat_effects: rows of the person deleted", _erase_repeats, ("repeats", "repeat_effects")
    ),
    Store("import", "imported_users: rows of the person deleted", _erase_imported, ("imported_users",)),
    Store(
        "name",
        "usernames, username_skeletons: rows deleted; held_names: a keyed digest keeps each name from being taken",
        hold_names,
        ("usernames", "username_skeletons", "released_names"),
    ),
)
"""In this order; the profile goes last, with the fact that it is gone."""

BY_THE_PURGE: Final = ("users", "deletions", "purges", "acknowledgements")
"""Tables that the purge itself brings to what is left: see `storage/purges.py`."""

KEPT: Final[Mapping[str, str]] = {
    "held_names": "a keyed digest of the name, without the person: so that nobody takes the name",
    "certificates": "the proof: an opaque id, figures and times",
    "sign_ups": "two ids and a keyed digest of a name: a command that comes again makes nobody",
    "sign_up_receipts": "the same ids, at the person's home",
    "audit_logs": "ids, actions and keyed digests; append-only, so that it proves what was done",
    "audit_seals": "digests and signatures over the audit log",
    "outbox": "facts on their way hold opaque ids alone; their days are dropped after the retention",
    "outbox_quarantine": "an opaque id, until an operator has decided about the fact",
    "outbox_skipped": "an opaque id and the numbers of facts that were given up",
    "dead_letters": "records as they came, which hold opaque ids alone",
    "relay_positions": "nothing of people",
    "relay_members": "nothing of people",
    "leases": "nothing of people",
    "cache_generations": "nothing of people",
    "schema_migrations": "nothing of people",
    "import_runs": "figures of imports",
    "import_rejects": "line numbers and reasons, no content",
    "import_positions": "how far an import has come: the last id alone",
    "import_staged": "how far an import has come",
    "import_edges": "emptied at the end of an import; ids alone",
}
"""Tables that keep what they have when a person is purged, and why that may be."""
