"""Named mutations: one row each at the person's home, and one beside each of their effects.

Whoever sends a mutation again gets the answer of the first time, or while that still runs a refusal. Where its process
died between effect and answer, the mutation runs again and passes over what it finds recorded as done.
"""

import dataclasses
import datetime as dt
import uuid
from typing import Final

from domain.errors import Conflict
from domain.repeats import KEPT, RUNS_FOR, Effects, Repeatable, current_effects
from domain.users import UserState
from storage.cells import Cell, Connection, Record
from storage.database import Database
from storage.limits import Priority

# For whoever is there at all: nothing may be kept anew of somebody who was purged.
_CLAIM: Final = """
INSERT INTO repeats AS r (user_id, name, asked, runner, runs_until, expires_at)
SELECT u.id, $2, $3, $4, $5, $6 FROM users u WHERE u.id = $1 AND u.state <> $7
ON CONFLICT (user_id, name) DO UPDATE SET runner = $4, runs_until = $5
WHERE r.asked = $3 AND r.answer IS NULL AND r.runs_until <= $8
RETURNING asked, runner, runs_until, answer, expires_at
"""

_FETCH: Final = "SELECT asked, runner, runs_until, answer, expires_at FROM repeats WHERE user_id = $1 AND name = $2"

_ANSWER: Final = """
UPDATE repeats SET answer = $4 WHERE user_id = $1 AND name = $2 AND runner = $3 AND answer IS NULL
"""

_LET_GO: Final = """
UPDATE repeats SET runs_until = $4 WHERE user_id = $1 AND name = $2 AND runner = $3 AND answer IS NULL
"""

_IS_DONE: Final = "SELECT true FROM repeat_effects WHERE user_id = $1 AND name = $2 AND field = $3"

_RECORD: Final = """
INSERT INTO repeat_effects (user_id, name, field, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, name, field) DO NOTHING
RETURNING true
"""

_FORGET_EFFECTS: Final = "DELETE FROM repeat_effects WHERE expires_at <= $1"

_FORGET: Final = "DELETE FROM repeats WHERE expires_at <= $1"


class AlreadyDone(Conflict):
    """This was done by an earlier request of the same name, whose answer got lost; read what there is now."""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """What is known of a named mutation: whose run it is, and the sealed answer once there is one."""

    asked: bytes
    runner: uuid.UUID
    runs_until: dt.datetime
    answer: bytes | None
    expires_at: dt.datetime


async def claim(database: Database, wanted: Repeatable, runner: uuid.UUID, now: dt.datetime) -> Claim | None:
    """Take a mutation to run it, where nobody has answered it or is running it; gives how it stands now.

    None is for somebody of whom nothing may be kept.
    """
    home = database.shards.home(wanted.user_id)
    times = (now + RUNS_FOR, now + KEPT)
    key = (wanted.user_id, wanted.name)
    gone = UserState.PURGED.value
    rows = await home.fetch(_CLAIM, *key, wanted.asked, runner, *times, gone, now, priority=Priority.MUTATION)
    if not rows:
        rows = await home.fetch(_FETCH, *key, priority=Priority.MUTATION)
    return _claim(rows[0]) if rows else None


def _claim(row: Record) -> Claim:
    return Claim(**row)


async def keep_answer(database: Database, of: Repeatable, runner: uuid.UUID, answer: bytes) -> None:
    """Keep the answer of a run, sealed; one that was given already stays."""
    await database.shards.home(of.user_id).fetch(
        _ANSWER, of.user_id, of.name, runner, of.seal(answer), priority=Priority.MUTATION
    )


async def let_go(database: Database, of: Repeatable, runner: uuid.UUID, now: dt.datetime) -> None:
    """Let whoever sends it again run it at once."""
    await database.shards.home(of.user_id).fetch(_LET_GO, of.user_id, of.name, runner, now, priority=Priority.MUTATION)


async def is_done(connection: Connection, action: str, target_id: int | None) -> bool:
    """Tell, in the transaction of an effect, whether an earlier run of the same mutation has had it."""
    effects = current_effects()
    if effects is None or not effects.are(action, target_id):
        return False
    return bool(await connection.fetch(_IS_DONE, *_place(effects)))


async def record_effect(connection: Connection, action: str, target_id: int | None) -> None:
    """Record an effect in its own transaction, where a named mutation runs.

    Raises:
        AlreadyDone: an earlier run of the same mutation has had it; this transaction must not be committed.
    """
    effects = current_effects()
    if effects is None or not effects.are(action, target_id):
        return
    if not await connection.fetch(_RECORD, *_place(effects), effects.expires_at):
        raise AlreadyDone


def _place(effects: Effects) -> tuple[int, bytes, int]:
    return effects.repeatable.user_id, effects.repeatable.name, effects.field


async def forget_expired(cell: Cell, now: dt.datetime) -> None:
    """Remove what is no longer kept: a mutation last, so that no effect outlives what it belongs to."""
    await cell.fetch(_FORGET_EFFECTS, now)
    await cell.fetch(_FORGET, now - RUNS_FOR)
