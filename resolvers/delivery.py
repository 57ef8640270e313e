"""One notification on its way to its owner: what the client gets, under which id and cursor."""

import dataclasses

from domain.notifications import Notification
from domain.pages import Position
from privacy.policy import Visible
from resolvers.context import Context


@dataclasses.dataclass(frozen=True, slots=True)
class Delivered:
    """One notification as its owner may see it now, with the context in which that was decided.

    In a stream, `dropped` counts those left out before it because they were not taken in time, and `waiting` those
    that were read and come after it.
    """

    context: Context
    notification: Notification
    actor: Visible
    id: str
    cursor: str
    dropped: int = 0
    waiting: int = 0


def deliver(context: Context, notification: Notification, actor: Visible) -> Delivered:
    """Give a notification the id and the cursor that its owner holds."""
    owner_id, sequence = notification.owner_id, notification.sequence
    [identity] = context.backend.cursors.encode(id_scope(owner_id), [Position(sequence, 0)])
    return Delivered(context, notification, actor, identity, encode_cursor(context, owner_id, sequence))


def encode_cursor(context: Context, owner_id: int, sequence: int) -> str:
    """Give the cursor after which a stream goes on behind a notification."""
    [cursor] = context.backend.cursors.encode(cursor_scope(owner_id), [Position(sequence, 0)])
    return cursor


def cursor_scope(owner_id: int) -> str:
    """Name what the cursors of an owner's notifications are bound to: the stream resumes after one."""
    return f"notifications of {owner_id}"


def id_scope(owner_id: int) -> str:
    """Name what the ids of an owner's notifications are bound to."""
    return f"notification {owner_id}"
