"""What a mutation tells: the person it changed, or why it did not; and what all actions on another person share."""

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable

from domain.errors import UserError, UserErrorCode
from domain.follow_limits import FollowLimits
from domain.ids import NodeType
from domain.rate_limits import OperationClass
from domain.transitions import Change, Transition
from privacy.policy import Visible
from resolvers.consistency import PAIR
from resolvers.context import NOBODY, Context, require_viewer
from resolvers.visibility import meet_after, meet_one
from storage.pair_actions import FollowLimitReached
from storage.pairs import change_pair


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The answer of a mutation: `user` as the viewer sees the person afterwards."""

    user: Visible | None = None
    user_errors: tuple[UserError, ...] = ()
    consistency_token: str | None = None


def refused(code: UserErrorCode, message: str, *path: str) -> Outcome:
    """Answer that nothing was done, and why."""
    return Outcome(user_errors=(UserError(code, message, ("input", *path)),))


def unavailable() -> Outcome:
    """Answer for a person who is missing, hidden, blocked, suspended or deleted: always this, to the letter."""
    return refused(UserErrorCode.USER_UNAVAILABLE, "This person is not available.", "userId")


def cannot_target_self() -> Outcome:
    """Answer to whoever aims at himself."""
    return refused(UserErrorCode.CANNOT_TARGET_SELF, "You cannot do this to yourself.", "userId")


Meet = Callable[[Context, int], Awaitable[Visible | None]]
"""How the person to act on is shown to the actor; None where there is nobody to act on."""


async def act_on(
    context: Context,
    opaque_id: str,
    transition_for: Callable[[Visible], Transition],
    *,
    show: Meet = meet_one,
    limits: FollowLimits | None = None,
    counts_as: OperationClass | None = None,
) -> Outcome:
    """Apply an action of the viewer to another person, through the gate, and show the person as it is then.

    `limits` are for actions that can make the viewer follow one more; `counts_as` for those whose number is limited.

    Raises:
        Unauthenticated: nobody is signed in.
        Overloaded: a cell does not answer; the action may be repeated as it is.
        RateLimited: the viewer did this too often.
    """
    viewer_id = await (require_viewer(context) if counts_as is None else _counted_viewer(context, counts_as))
    target_id = context.ids.decode(NodeType.USER, opaque_id) or NOBODY
    if target_id == viewer_id:
        return cannot_target_self()
    target = await show(context, target_id)
    if target is None:
        return unavailable()
    try:
        transition, known = transition_for(target), target.relationship
        change = await change_pair(
            context.database, viewer_id, target_id, transition, context.now, limits=limits, known=known
        )
    except FollowLimitReached as reached:
        return refused(UserErrorCode.FOLLOW_LIMIT_REACHED, str(reached), "userId")
    if change is None:
        return unavailable()
    return await _show_changed(context, target, change)


async def _counted_viewer(context: Context, operation: OperationClass) -> int:
    """Count what the viewer does while the viewer is looked up."""
    if context.viewer_id is None:
        return await require_viewer(context)
    with contextlib.closing(context.count(operation)) as counting:
        viewer_id = await require_viewer(context)
        await counting
    return viewer_id


async def _show_changed(context: Context, target: Visible, change: Change) -> Outcome:
    if change.events:
        context.backend.bell.ring(context.database.shards.home(min(target.user.id, target.viewer_id or NOBODY)))
    context.loaders.forget()
    changed = (target.user.id, target.viewer_id or NOBODY)
    token = await context.issue_token({PAIR + target.user.opaque_id: change.after.version}, changed)
    return Outcome(user=meet_after(context, target, change.after), consistency_token=token)
