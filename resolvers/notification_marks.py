"""Marking notifications as read."""

import dataclasses
from collections.abc import Sequence

from domain.errors import InvalidInput
from domain.notifications import GroupKey
from domain.pages import MAX_PAGE
from resolvers.consistency import PROFILE
from resolvers.context import Context, require_viewer
from resolvers.delivery import cursor_scope, id_scope
from resolvers.notification_groups import ShownGroup, fetch_by_key, fetch_unread_count, group_scope, key_at
from resolvers.visibility import meet_one
from storage.notification_groups import fetch_keys
from storage.notification_marks import read_these, read_up_to


@dataclasses.dataclass(frozen=True, slots=True)
class Marked:
    """The groups that hold what was named, as they are now, and how much is unread of everything."""

    groups: Sequence[ShownGroup]
    unread_count: int
    consistency_token: str | None


async def mark_read(context: Context, *, up_to: str | None, ids: Sequence[str] | None) -> Marked:
    """Mark all up to a notification's cursor as read, or up to 100 notifications and groups by id; may be repeated.

    Raises:
        Unauthenticated: nobody is signed in.
        InvalidInput: not exactly one of the two is given, or a cursor or id is not of this viewer's notifications.
    """
    owner_id = await require_viewer(context)
    if (up_to is None) == (ids is None):
        raise InvalidInput("Give exactly one of `upTo` and `ids`.")
    if up_to is not None:
        sequence = context.backend.cursors.decode(cursor_scope(owner_id), up_to).major
        await read_up_to(context.database, owner_id, sequence, context.now)
        return await _marked(context, owner_id, [sequence], [])
    sequences, groups = _named(context, owner_id, ids or ())
    await read_these(context.database, owner_id, sequences, groups, context.now)
    return await _marked(context, owner_id, sequences, groups)


def _named(context: Context, owner_id: int, ids: Sequence[str]) -> tuple[list[int], list[GroupKey]]:
    if len(ids) > MAX_PAGE:
        raise InvalidInput(f"Name at most {MAX_PAGE} at once.")
    sequences, groups = [], []
    for identity in dict.fromkeys(ids):
        sequence = _sequence_of(context, owner_id, identity)
        if sequence is not None:
            sequences.append(sequence)
        else:
            groups.append(_group_of(context, owner_id, identity))
    return sequences, groups


def _sequence_of(context: Context, owner_id: int, identity: str) -> int | None:
    try:
        return context.backend.cursors.decode(id_scope(owner_id), identity).major
    except InvalidInput:
        return None


def _group_of(context: Context, owner_id: int, identity: str) -> GroupKey:
    try:
        return key_at(context.backend.cursors.decode(group_scope(owner_id), identity))
    except InvalidInput:
        raise InvalidInput("An id is not that of a notification of yours.") from None


async def _marked(context: Context, owner_id: int, sequences: Sequence[int], groups: Sequence[GroupKey]) -> Marked:
    keys = await fetch_keys(context.database, owner_id, sequences) | set(groups)
    shown = await fetch_by_key(context, owner_id, list(keys))
    viewer = await meet_one(context, owner_id)
    versions = {PROFILE + viewer.user.opaque_id: viewer.user.version} if viewer else {}
    token = await context.issue_token(versions, (owner_id,))
    return Marked(shown, await fetch_unread_count(context, owner_id), token)
