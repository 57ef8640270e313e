"""Muting: the viewer's own affair, which the other never learns of."""

import datetime as dt

from domain.errors import UserErrorCode
from domain.ids import NodeType
from resolvers.consistency import PAIR
from resolvers.context import NOBODY, Context, require_viewer
from resolvers.outcomes import Outcome, cannot_target_self, refused, unavailable
from resolvers.visibility import meet_one
from storage.mutes import Mute, Unmute, change_mute


async def mute(context: Context, opaque_id: str, *, expires_at: dt.datetime | None) -> Outcome:
    """Mute a person, for good or until a time: no notification tells of what the person does."""
    if expires_at is not None and expires_at <= context.now:
        await require_viewer(context)
        return refused(UserErrorCode.INVALID_VALUE, "This time has passed.", "expiresAt")
    return await _change(context, opaque_id, Mute(expires_at))


async def unmute(context: Context, opaque_id: str) -> Outcome:
    """Lift a mute; repeating it changes nothing."""
    return await _change(context, opaque_id, Unmute())


async def _change(context: Context, opaque_id: str, change: Mute | Unmute) -> Outcome:
    viewer_id = await require_viewer(context)
    target_id = context.ids.decode(NodeType.USER, opaque_id) or NOBODY
    if target_id == viewer_id:
        return cannot_target_self()
    target = await meet_one(context, target_id)
    if target is None:
        return unavailable()
    if await change_mute(context.database, viewer_id, target_id, change):
        context.backend.bell.ring(context.database.shards.home(viewer_id))
    context.loaders.forget()
    version = {PAIR + target.user.opaque_id: target.relationship.version}
    token = await context.issue_token(version, (viewer_id, target_id))
    return Outcome(user=await meet_one(context, target_id), consistency_token=token)
