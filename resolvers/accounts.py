"""A person's own account: deleting it, and coming back."""

import dataclasses
import datetime as dt

from domain.errors import Unauthenticated, UserError
from domain.ids import NodeType
from domain.revocations import Revocation, RevocationKind
from domain.usernames import username_key
from resolvers.consistency import PROFILE
from resolvers.context import Context
from resolvers.outcomes import Outcome
from resolvers.settings import invalid
from resolvers.step_up import require_recent_sign_in
from resolvers.visibility import meet_one
from storage.channels import Notice, give_notice
from storage.deletions import Deletion, delete_account, fetch_deletion, restore_account
from storage.revocations import revoke


@dataclasses.dataclass(frozen=True, slots=True)
class Deleted:
    """The answer to whoever deletes the own account."""

    restorable_until: dt.datetime | None = None
    user_errors: tuple[UserError, ...] = ()
    consistency_token: str | None = None


async def delete_own(context: Context, confirmation: str) -> Deleted:
    """Delete the viewer's account, once; a repeat says the same, as long as it can be undone.

    Raises:
        Unauthenticated: nobody is signed in, or the account is gone for good.
        StepUpRequired: the viewer has not signed in just now.
    """
    viewer_id = _require_token(context)
    require_recent_sign_in(context)
    viewer = await meet_one(context, viewer_id)
    if viewer is None:
        return await _deleted(context, viewer_id, await fetch_deletion(context.database, viewer_id))
    if username_key(confirmation) != username_key(viewer.user.username):
        return Deleted(user_errors=(invalid("Type your own username to confirm.", "confirmation"),))
    deletion = await delete_account(context.database, viewer_id, context.now)
    context.backend.bell.ring(context.database.shards.home(viewer_id))
    context.loaders.forget()
    await _end_sessions(context, viewer_id)
    return await _deleted(context, viewer_id, deletion)


async def _end_sessions(context: Context, viewer_id: int) -> None:
    """Refuse every token from before this second, and have every process end the person's connections."""
    now = int(context.now.timestamp())
    ends_at = now + context.backend.token_life
    await revoke(context.database, Revocation(viewer_id, RevocationKind.EARLIER, "", now, ends_at))
    await give_notice(context.backend.caches.redis, Notice(user_id=viewer_id))


async def _deleted(context: Context, viewer_id: int, deletion: Deletion | None) -> Deleted:
    if deletion is None:
        raise Unauthenticated
    token = await context.issue_token({PROFILE + _opaque(context, viewer_id): deletion.version}, (viewer_id,))
    return Deleted(deletion.restorable_until, consistency_token=token)


async def restore_own(context: Context) -> Outcome:
    """Bring the viewer's deleted account back; nothing happens to one that is there.

    Raises:
        Unauthenticated: nobody is signed in, or the account is gone for good.
    """
    viewer_id = _require_token(context)
    restored = await restore_account(context.database, viewer_id, context.now)
    if restored is not None:
        context.backend.bell.ring(context.database.shards.home(viewer_id))
    context.loaders.forget()
    viewer = await meet_one(context, viewer_id)
    if viewer is None:
        raise Unauthenticated
    token = await context.issue_token({PROFILE + viewer.user.opaque_id: viewer.user.version}, (viewer_id,))
    return Outcome(user=viewer, consistency_token=token)


def _require_token(context: Context) -> int:
    """Give the viewer's id, also of one who is gone: these two mutations are all that a gone person's token is for."""
    if context.viewer_id is None:
        raise Unauthenticated
    return context.viewer_id


def _opaque(context: Context, user_id: int) -> str:
    return context.ids.encode(NodeType.USER, user_id)
