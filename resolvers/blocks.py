"""Blocking and unblocking."""

import datetime as dt
from typing import Final

from domain.errors import UserErrorCode
from domain.rate_limits import OperationClass
from domain.transitions import block as block_transition
from domain.transitions import unblock as unblock_transition
from privacy.policy import Visible
from resolvers.context import Context, require_viewer
from resolvers.outcomes import Outcome, act_on, refused
from resolvers.visibility import meet_one, meet_own_blocks

BLOCK: Final = OperationClass.BLOCK


async def block(context: Context, opaque_id: str, *, expires_at: dt.datetime | None) -> Outcome:
    """Block a person, for good or until a time; cuts follows both ways. Repeating it changes nothing."""
    if expires_at is not None and expires_at <= context.now:
        await require_viewer(context)
        return refused(UserErrorCode.INVALID_VALUE, "This time has passed.", "expiresAt")
    return await act_on(
        context, opaque_id, lambda _target: block_transition(until=expires_at), show=_meet_to_block, counts_as=BLOCK
    )


async def unblock(context: Context, opaque_id: str) -> Outcome:
    """Take a block back; what it cut is not restored. Repeating it changes nothing."""
    return await act_on(context, opaque_id, lambda _target: unblock_transition(), show=_meet_to_block, counts_as=BLOCK)


async def _meet_to_block(context: Context, user_id: int) -> Visible | None:
    """Show whom the viewer may meet or blocks: whoever blocked the viewer first is as if not there, here too."""
    person = await meet_one(context, user_id)
    return person if person is not None else (await meet_own_blocks(context, [user_id]))[0]
