"""The index: one SQLite file with people, blocks, and the facts that were had, each fact in one transaction."""

import dataclasses
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS inbox (event_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS people (
    user_id TEXT PRIMARY KEY, version INTEGER NOT NULL, username TEXT, display_name TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
    blocker_id TEXT, blocked_id TEXT, pair_version INTEGER NOT NULL, holds INTEGER NOT NULL,
    PRIMARY KEY (blocker_id, blocked_id)
) WITHOUT ROWID;
"""

# A person whose version is known to be later stays as that version has it; one without a name is gone or hidden.
_PUT_PERSON: Final = """
INSERT INTO people (user_id, version, username, display_name) VALUES (?, ?, ?, ?)
ON CONFLICT (user_id) DO UPDATE
SET version = excluded.version, username = excluded.username, display_name = excluded.display_name
WHERE excluded.version >= people.version
"""

# `pairVersion` orders what the two do under their own keys, so that a late block cannot undo a later unblock.
_PUT_BLOCK: Final = """
INSERT INTO blocks (blocker_id, blocked_id, pair_version, holds) VALUES (?, ?, ?, ?)
ON CONFLICT (blocker_id, blocked_id) DO UPDATE SET pair_version = excluded.pair_version, holds = excluded.holds
WHERE excluded.pair_version >= blocks.pair_version
"""

# Neither of two people of whom one blocks the other may meet the other.
_SEARCH: Final = """
SELECT user_id, username, display_name FROM people
WHERE username IS NOT NULL
  AND (instr(lower(username), lower(:words)) OR instr(lower(coalesce(display_name, '')), lower(:words)))
  AND NOT EXISTS (
    SELECT 1 FROM blocks
    WHERE holds AND (blocker_id, blocked_id) IN (VALUES (:viewer, user_id), (user_id, :viewer)))
ORDER BY username
LIMIT :most
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """Somebody as everybody may see the person."""

    id: str
    username: str
    display_name: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """What is to be known of a person at a version; no person: nobody may find whoever it was."""

    id: str
    version: int
    person: Person | None


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Whether somebody blocks another, as of a version of the pair."""

    blocker_id: str
    blocked_id: str
    pair_version: int
    holds: bool


class Index:
    """The file; everything in it can be made again from the facts."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(f"PRAGMA journal_mode = WAL; {_TABLES}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def has_had(self, event_id: str) -> bool:
        """Tell whether a fact has had its effect: the cheap look before the work."""
        return bool(self._connection.execute("SELECT 1 FROM inbox WHERE event_id = ?", [event_id]).fetchall())

    def have(self, event_id: str, change: Profile | Block | None) -> bool:
        """Have a fact's effect, in one transaction with its id; False where it was had before."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            is_new = self._connection.execute("INSERT OR IGNORE INTO inbox VALUES (?)", [event_id]).rowcount == 1
            if is_new:
                self._change(change)
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        return is_new

    def _change(self, change: Profile | Block | None) -> None:
        match change:
            case Profile(id=user_id, version=version, person=person):
                shown = (person.username, person.display_name) if person is not None else (None, None)
                self._connection.execute(_PUT_PERSON, [user_id, version, *shown])
            case Block():
                self._connection.execute(_PUT_BLOCK, dataclasses.astuple(change))

    def search(self, words: str, *, viewer_id: str | None = None, most: int = 20) -> Sequence[Person]:
        """Find people by a part of their names, without those whom the viewer may not meet."""
        rows = self._connection.execute(_SEARCH, {"words": words, "viewer": viewer_id or "", "most": most})
        return [Person(*row) for row in rows]
