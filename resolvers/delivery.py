"""One notification on its way to its owner: what the client gets, under which id and cursor."""

import dataclasses

from domain.notifications import Notification
from domain.pages import Position
from privacy.policy import Visible
from resolvers.context import Context


@dataclasses.dataclass(frozen=True, slots=True)
class Delivered:
    """One notification as its owner may see it now, with the context in which that was decided."""

    context: Context
    notification: Notification
    actor: Visible
    id: str
    cursor: str


def deliver(context: Context, notification: Notification, actor: Visible) -> Delivered:
    """Give a notification the id and the cursor that its owner holds."""
    position = Position(notification.sequence, 0)
    cursors, owner_id = context.backend.cursors, notification.owner_id
    [cursor] = cursors.encode(cursor_scope(owner_id), [position])
    [identity] = cursors.encode(id_scope(owner_id), [position])
    return Delivered(context, notification, actor, identity, cursor)


def cursor_scope(owner_id: int) -> str:
    """Name what the cursors of an owner's notifications are bound to: the stream resumes after one."""
    return f"notifications of {owner_id}"


def id_scope(owner_id: int) -> str:
    """Name what the ids of an owner's notifications are bound to."""
    return f"notification {owner_id}"
