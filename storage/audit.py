"""The audit log: who did what to whom, ids only, written in the transaction of the fact and never changed."""

from typing import Final

from storage.cells import Connection

_WRITE: Final = "INSERT INTO audit_logs (actor_id, action, target_id, version) VALUES ($1, $2, $3, $4)"


async def write_audit(
    connection: Connection, actor_id: int, action: str, *, target_id: int | None, version: int
) -> None:
    """Write that an actor did something, and the version of the pair or profile that came of it."""
    await connection.execute(_WRITE, actor_id, action, target_id, version)
