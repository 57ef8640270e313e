"""The lists that only their owner sees: requests both ways, blocks and mutes. Each is asked for one owner at a time."""

from collections.abc import Mapping
from typing import Final

from domain.relationships import ListKind

_REQUESTS_DOWN: Final = """
SELECT owner_id, other_id, followed_by_at AS since
FROM relationships
WHERE owner_id = ANY($1::bigint[]) AND followed_by = 1 AND (followed_by_at, other_id) < ($2, $3::bigint)
  AND other_id <> ALL($5::bigint[])
ORDER BY followed_by_at DESC, other_id DESC
LIMIT $4
"""

_REQUESTS_UP: Final = """
SELECT owner_id, other_id, followed_by_at AS since
FROM relationships
WHERE owner_id = ANY($1::bigint[]) AND followed_by = 1 AND (followed_by_at, other_id) > ($2, $3::bigint)
  AND other_id <> ALL($5::bigint[])
ORDER BY followed_by_at, other_id
LIMIT $4
"""

_ASKED_DOWN: Final = """
SELECT owner_id, other_id, follows_at AS since
FROM relationships
WHERE owner_id = ANY($1::bigint[]) AND follows = 1 AND (follows_at, other_id) < ($2, $3::bigint)
  AND other_id <> ALL($5::bigint[])
ORDER BY follows_at DESC, other_id DESC
LIMIT $4
"""

_ASKED_UP: Final = """
SELECT owner_id, other_id, follows_at AS since
FROM relationships
WHERE owner_id = ANY($1::bigint[]) AND follows = 1 AND (follows_at, other_id) > ($2, $3::bigint)
  AND other_id <> ALL($5::bigint[])
ORDER BY follows_at, other_id
LIMIT $4
"""

_BLOCKED_DOWN: Final = """
SELECT owner_id, other_id, blocks_since AS since
FROM relationships
WHERE owner_id = ANY($1::bigint[]) AND blocks AND (blocks_since, other_id) < ($2, $3::bigint)
  AND other_id <> ALL($5::bigint[])
ORDER BY blocks_since DESC, other_id DESC
LIMIT $4
"""

_BLOCKED_UP: Final = """
SELECT owner_id, other_id, blocks_since AS since
FROM relationships
WHERE owner_id = ANY($1::bigint[]) AND blocks AND (blocks_since, other_id) > ($2, $3::bigint)
  AND other_id <> ALL($5::bigint[])
ORDER BY blocks_since, other_id
LIMIT $4
"""

_MUTED_DOWN: Final = """
SELECT owner_id, other_id, mutes_since AS since
FROM relationships
WHERE owner_id = ANY($1::bigint[]) AND mutes AND (mutes_since, other_id) < ($2, $3::bigint)
  AND other_id <> ALL($5::bigint[])
ORDER BY mutes_since DESC, other_id DESC
LIMIT $4
"""

_MUTED_UP: Final = """
SELECT owner_id, other_id, mutes_since AS since
FROM relationships
WHERE owner_id = ANY($1::bigint[]) AND mutes AND (mutes_since, other_id) > ($2, $3::bigint)
  AND other_id <> ALL($5::bigint[])
ORDER BY mutes_since, other_id
LIMIT $4
"""

OWN_STATEMENTS: Final[Mapping[tuple[ListKind, bool], str]] = {
    (ListKind.REQUESTS, True): _REQUESTS_DOWN,
    (ListKind.REQUESTS, False): _REQUESTS_UP,
    (ListKind.ASKED, True): _ASKED_DOWN,
    (ListKind.ASKED, False): _ASKED_UP,
    (ListKind.BLOCKED, True): _BLOCKED_DOWN,
    (ListKind.BLOCKED, False): _BLOCKED_UP,
    (ListKind.MUTED, True): _MUTED_DOWN,
    (ListKind.MUTED, False): _MUTED_UP,
}
"""The statement of a list read from new to old (True) or from old to new."""
