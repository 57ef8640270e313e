"""What people want to be told of, one row for each who has said so."""

import dataclasses
from collections.abc import Callable
from typing import Final

from domain.notification_preferences import NotificationPreferences, NotificationTreatment
from storage.audit import write_audit
from storage.cells import Connection, Record
from storage.database import Database
from storage.repeats import is_done

UPDATED: Final = "notification_preferences.updated"
"""The action of the audit row."""

_FETCH: Final = """
SELECT followed, strangers, new_accounts, new_account_days, version
FROM notification_preferences
WHERE owner_id = $1
"""

# The owner's row of counters stands in for one that is not written yet.
_LOCK: Final = "SELECT FROM user_counts WHERE user_id = $1 FOR NO KEY UPDATE"

_WRITE: Final = """
INSERT INTO notification_preferences (owner_id, followed, strangers, new_accounts, new_account_days, version)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (owner_id) DO UPDATE
SET followed = $2, strangers = $3, new_accounts = $4, new_account_days = $5, version = $6
"""

DEFAULTS: Final = NotificationPreferences()


async def fetch_notification_preferences(database: Database, owner_id: int) -> NotificationPreferences:
    """Fetch what the owner wants; everything is shown to whoever has not said."""
    return _read(await database.shards.home(owner_id).fetch(_FETCH, owner_id))


async def change_notification_preferences(
    database: Database, owner_id: int, change: Callable[[NotificationPreferences], NotificationPreferences]
) -> NotificationPreferences:
    """Apply a change with its audit row; no difference writes nothing."""

    async def work(connection: Connection) -> NotificationPreferences:
        await connection.fetch(_LOCK, owner_id)
        before = _read(await connection.fetch(_FETCH, owner_id))
        after = change(before)
        if after == before or await is_done(connection, UPDATED, None):
            return before
        after = dataclasses.replace(after, version=before.version + 1)
        treatments = (after.followed, after.strangers, after.new_accounts)
        await connection.execute(_WRITE, owner_id, *treatments, after.new_account_days, after.version)
        await write_audit(
            database,
            connection,
            owner_id,
            UPDATED,
            target_id=None,
            version=after.version,
            before=before,
            after=after,
        )
        return after

    return await database.shards.home(owner_id).transact(work)


def _read(rows: list[Record]) -> NotificationPreferences:
    if not rows:
        return DEFAULTS
    row = rows[0]
    return NotificationPreferences(
        followed=NotificationTreatment(row["followed"]),
        strangers=NotificationTreatment(row["strangers"]),
        new_accounts=NotificationTreatment(row["new_accounts"]),
        new_account_days=row["new_account_days"],
        version=row["version"],
    )
