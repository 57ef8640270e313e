"""The newest rows of follower and following lists, which are what is remembered of them: packed, one value a list."""

from collections.abc import Sequence
from typing import Final

from domain.relationships import ListKind
from storage.database import Database
from storage.limits import Priority
from storage.list_entries import places_sent


def _statement(state: str) -> str:
    """Write the statement for one direction; users lead, so that Citus can push it down to the shards of the owners."""
    return f"""
SELECT u.id AS owner_id, (
    SELECT string_agg(timestamptz_send(r.since) || int8send(r.other_id), '' ORDER BY r.since DESC, r.other_id DESC)
    FROM (
        SELECT other_id, {state}_at AS since
        FROM relationships
        WHERE owner_id = u.id AND {state} = 2
        ORDER BY {state}_at DESC, other_id DESC
        LIMIT $2
    ) r
) AS entries
FROM users u
WHERE u.id = ANY($1::bigint[])
"""  # noqa: S608 - of constants


_FOLLOWERS: Final = _statement("followed_by")
_FOLLOWING: Final = _statement("follows")
STATEMENTS: Final = {ListKind.FOLLOWERS: _FOLLOWERS, ListKind.FOLLOWING: _FOLLOWING}


async def fetch_heads(database: Database, kind: ListKind, owner_ids: Sequence[int], limit: int) -> dict[int, bytes]:
    """Fetch the packed places of each owner's newest rows, at most `limit`, the newest first.

    Who has none may be left out.
    """
    rows = await database.shards.fetch_by_home(STATEMENTS[kind], owner_ids, limit, priority=Priority.LIST)
    return {row["owner_id"]: places_sent(row["entries"] or b"") for row in rows}
