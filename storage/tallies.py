"""Counters with who is counted, where these are few; and counters less whom a block hides, where they are many."""

import os
from collections.abc import Sequence
from typing import Final

from domain.tallies import ID_BYTES, LISTED, Tally
from domain.users import Counts, User
from storage.cells import Record
from storage.database import Database
from storage.limits import Priority
from storage.users import read_user

_FOLLOWERS: Final = """
c.followers + coalesce((SELECT sum(s.followers) FROM user_count_slots s WHERE s.user_id = c.user_id), 0)::bigint
"""

# Counters and edges change together, so that one statement sees both agree. NULL says that there are too many to list;
# the limit holds also where a counter is wrong. Each list is read from its index alone.
_TALLY: Final = f"""
c.following, {_FOLLOWERS} AS followers,
CASE WHEN c.followers + c.following <= $2 THEN coalesce((
    SELECT string_agg(int8send(f.other_id), '') FROM (
        SELECT r.other_id FROM relationships r WHERE r.owner_id = c.user_id AND r.followed_by = 2 LIMIT $2 + 1
    ) f
), '') END AS follower_ids,
CASE WHEN c.followers + c.following <= $2 THEN coalesce((
    SELECT string_agg(int8send(f.other_id), '') FROM (
        SELECT r.other_id FROM relationships r WHERE r.owner_id = c.user_id AND r.follows = 2 LIMIT $2 + 1
    ) f
), '') END AS followed_ids
"""  # noqa: S608 - of constants

_FETCH: Final = f"""
SELECT c.user_id AS id, {_TALLY}
FROM user_counts c
WHERE c.user_id = ANY($1::bigint[])
"""  # noqa: S608 - of constants

_FETCH_PEOPLE: Final = f"""
SELECT u.id, u.username, u.display_name, u.bio, u.avatar_url, u.pronouns, u.location, u.links::text AS links, u.policy,
       u.state, u.version, u.created_at, {_TALLY}
FROM users u
JOIN user_counts c ON c.user_id = u.id
WHERE u.id = ANY($1::bigint[])
"""  # noqa: S608 - of constants

# The counters are read with what is taken off them: a blocked person who comes meanwhile changes neither.
_FETCH_SHOWN: Final = f"""
SELECT c.user_id, {_FOLLOWERS} - count(r.other_id) FILTER (WHERE r.followed_by = 2) AS followers,
       c.following - count(r.other_id) FILTER (WHERE r.follows = 2) AS following
FROM user_counts c
LEFT JOIN relationships r ON r.owner_id = c.user_id AND r.other_id = ANY($2::bigint[])
WHERE c.user_id = ANY($1::bigint[])
GROUP BY c.user_id, c.followers, c.following
"""  # noqa: S608 - of constants

NEIGHBOURS: Final = 2048
"""Up to how many neighbours those of the hidden are listed."""


async def fetch_people(database: Database, user_ids: Sequence[int]) -> dict[int, tuple[User, Tally]]:
    """Fetch profiles and tallies, one statement per cell; whoever does not exist is left out."""
    rows = await database.shards.fetch_by_home(_FETCH_PEOPLE, user_ids, LISTED)
    return {row["id"]: (read_user(database, row), _tally(row, LISTED)) for row in rows}


async def fetch_tallies(database: Database, user_ids: Sequence[int]) -> dict[int, Tally]:
    """Fetch tallies, one statement per cell; whoever does not exist is left out."""
    rows = await database.shards.fetch_by_home(_FETCH, user_ids, LISTED, priority=Priority.COUNT)
    return {row["id"]: _tally(row, LISTED) for row in rows}


async def fetch_neighbours(database: Database, user_ids: Sequence[int]) -> dict[int, Tally]:
    """Fetch tallies with longer lists, one statement per cell; whoever does not exist is left out."""
    rows = await database.shards.fetch_by_home(_FETCH, user_ids, NEIGHBOURS, priority=Priority.COUNT)
    return {row["id"]: _tally(row, NEIGHBOURS) for row in rows}


async def fetch_shown_counts(
    database: Database, owner_ids: Sequence[int], hidden_ids: Sequence[int]
) -> dict[int, Counts]:
    """Count, per owner, the followers and the followed that are not among `hidden_ids`."""
    rows = await database.shards.fetch_by_home(_FETCH_SHOWN, owner_ids, hidden_ids, priority=Priority.COUNT)
    return {row["user_id"]: Counts(row["followers"], row["following"]) for row in rows}


def _tally(row: Record, listed: int) -> Tally:
    counts, most = Counts(row["followers"], row["following"]), listed * ID_BYTES
    followers, following = row["follower_ids"], row["followed_ids"]
    if followers is None or following is None or len(followers) > most or len(following) > most:
        return Tally(counts, None, None, os.urandom(ID_BYTES))
    return Tally(counts, followers, following)
