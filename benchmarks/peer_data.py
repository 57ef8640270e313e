"""The data set of the harness of peers, brought into tables of ours: the same people, follows and blocks."""

import io
from typing import Final

import asyncpg

from auth.jwks import development_key
from auth.token import issue_token
from domain.ids import NodeType, OpaqueIds
from domain.policies import DEFAULT_POLICY, PrivacyPolicy, write_policy
from keys import load_keys
from settings import Settings
from storage.migrate import migrate

_DATABASE: Final = "kith"
_FIRST_ID: Final = 1 << 58
_ID: Final = "(({first} - {column}) * 4194304)"  # a greater number, a smaller id: the harness breaks ties the other way

_AGREED: Final = """
INSERT INTO blocks SELECT blocked_id, blocker_id FROM blocks ON CONFLICT DO NOTHING;
DELETE FROM follows f USING blocks b WHERE (b.blocker_id, b.blocked_id) = (f.follower_id, f.followee_id);
UPDATE bench_internal.counts c SET
    followers_count = (SELECT count(*) FROM follows f WHERE f.followee_id = c.id),
    following_count = (SELECT count(*) FROM follows f WHERE f.follower_id = c.id);
UPDATE users u SET followers_count = c.followers_count, following_count = c.following_count
    FROM bench_internal.counts c WHERE c.id = u.id;
UPDATE bench_internal.meta SET fingerprint = 'agreed';
"""
"""What no peer could tell from our rules: blocks go both ways, and nobody follows across one.

It is done to the harness's own tables, so that all peers answer about the same people; the fingerprint makes its next
run load them anew.
"""

_SOURCES: Final = {
    "users (id, username, display_name, bio, avatar_url, policy, created_at, updated_at)": """
        SELECT {id}, username, display_name, bio, avatar_url,
               CASE WHEN is_private THEN '{private}' ELSE '{open}' END, created_at, created_at FROM users""",
    "usernames (name_key, user_id, claimed_at)": "SELECT lower(username), {id}, created_at FROM users",
    "user_counts (user_id, followers, following)": """
        SELECT {id}, followers_count::bigint, following_count::bigint FROM users""",
    "relationships (owner_id, other_id, follows, followed_by, follows_at, followed_by_at, blocks, blocked_by, "
    "blocks_since, blocked_by_since, version)": """
        SELECT {owner}, {other}, (2 * max(follows))::smallint, (2 * max(followed))::smallint, max(follows_at),
               max(followed_at), max(blocks) = 1, max(blocked) = 1, max(blocks_since), max(blocked_since), 1::bigint
        FROM (
            SELECT follower_id AS owner, followee_id AS other, 1 AS follows, 0 AS followed, created_at AS follows_at,
                   NULL::timestamptz AS followed_at, 0 AS blocks, 0 AS blocked, NULL::timestamptz AS blocks_since,
                   NULL::timestamptz AS blocked_since FROM follows a
            UNION ALL
            SELECT followee_id, follower_id, 0, 1, NULL, created_at, 0, 0, NULL, NULL FROM follows b
            UNION ALL
            SELECT blocker_id, blocked_id, 0, 0, NULL, NULL, 1, 0, '2024-01-01', NULL FROM blocks
            UNION ALL
            SELECT blocked_id, blocker_id, 0, 0, NULL, NULL, 0, 1, NULL, '2024-01-01' FROM blocks
        ) sides GROUP BY owner, other""",
}


def own_dsn(dsn: str) -> str:
    """Give the address of our database beside that of the harness."""
    return f"{dsn.rpartition('/')[0]}/{_DATABASE}"


async def bring_over(dsn: str) -> None:
    """Make our database anew out of the harness's."""
    source = await asyncpg.connect(dsn)
    try:
        await source.execute(f'DROP DATABASE IF EXISTS "{_DATABASE}" WITH (FORCE)')
        await source.execute(f'CREATE DATABASE "{_DATABASE}"')
        await migrate((own_dsn(dsn),), lambda _line: None)
        await source.execute(_AGREED)
        for table in ("users", "follows", "blocks"):
            await source.execute(f"VACUUM (FREEZE, ANALYZE) {table}")
        target = await asyncpg.connect(own_dsn(dsn))
        try:
            for table, query in _SOURCES.items():
                await _copy(source, target, table, query)
            await target.execute("ANALYZE")
        finally:
            await target.close()
    finally:
        await source.close()


async def _copy(source: asyncpg.Connection, target: asyncpg.Connection, table: str, query: str) -> None:
    names = {name: _ID.format(first=_FIRST_ID >> 22, column=name) for name in ("id", "owner", "other")}
    policies = {"open": write_policy(DEFAULT_POLICY), "private": write_policy(PrivacyPolicy(is_private=True))}
    rows = io.BytesIO()
    await source.copy_from_query(query.format(**names, **policies), output=rows, format="binary")
    rows.seek(0)
    name, _, columns = table.partition(" (")
    await target.copy_to_table(name, source=rows, columns=columns.rstrip(")").split(", "), format="binary")


async def identities(dsn: str, settings: Settings) -> dict[str, dict[str, str]]:
    """Give a token and the opaque id of everybody, by the number that the harness knows them by."""
    ids, key = OpaqueIds(load_keys(settings).opaque_ids), development_key(settings)
    connection = await asyncpg.connect(dsn)
    try:
        numbers = [row["id"] for row in await connection.fetch("SELECT id FROM users")]
    finally:
        await connection.close()
    opaque = {str(number): ids.encode(NodeType.USER, ((_FIRST_ID >> 22) - number) << 22) for number in numbers}
    return {"tokens": {number: issue_token(key, settings, each) for number, each in opaque.items()}, "ids": opaque}
