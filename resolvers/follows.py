"""Following, and what becomes of requests to follow."""

from typing import Final

from domain import transitions
from domain.errors import UserErrorCode
from domain.rate_limits import OperationClass
from domain.relationships import FollowState
from domain.transitions import Transition
from privacy.policy import Visible
from resolvers.context import Context
from resolvers.outcomes import Outcome, act_on, refused

FOLLOW: Final = OperationClass.FOLLOW


async def follow(context: Context, opaque_id: str) -> Outcome:
    """Follow a person, or ask a private one; repeating it changes nothing."""

    def transition_for(target: Visible) -> Transition:
        return transitions.follow(target_is_private=target.user.policy.is_private)

    return await act_on(context, opaque_id, transition_for, limits=context.backend.limits, counts_as=FOLLOW)


async def unfollow(context: Context, opaque_id: str) -> Outcome:
    """Stop following a person, or withdraw the request; repeating it changes nothing."""
    return await act_on(context, opaque_id, lambda _target: transitions.unfollow(), counts_as=FOLLOW)


async def cancel_request(context: Context, opaque_id: str) -> Outcome:
    """Withdraw a request that waits; repeating it changes nothing."""
    return await act_on(context, opaque_id, lambda _target: transitions.cancel_request(), counts_as=FOLLOW)


async def accept_request(context: Context, opaque_id: str) -> Outcome:
    """Accept a person's request; repeating it changes nothing, and without a request it says so."""
    outcome = await act_on(context, opaque_id, lambda _target: transitions.accept())
    user = outcome.user
    if user is not None and user.relationship.followed_by is not FollowState.ACTIVE:
        message = "This person does not ask to follow you; the request may have been withdrawn."
        return refused(UserErrorCode.REQUEST_NOT_FOUND, message, "userId")
    return outcome


async def reject_request(context: Context, opaque_id: str) -> Outcome:
    """Reject a person's request; repeating it changes nothing. The person is not told."""
    return await act_on(context, opaque_id, lambda _target: transitions.reject())


async def remove_follower(context: Context, opaque_id: str) -> Outcome:
    """End a person's follow, or reject the request; repeating it changes nothing. The person is not told."""
    return await act_on(context, opaque_id, lambda _target: transitions.remove_follower())
