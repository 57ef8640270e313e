"""What a stolen or forgotten token must not do: that takes a person who has signed in a moment ago."""

from typing import Final

from domain.errors import StepUpRequired
from resolvers.context import Context

MAX_AGE_S: Final = 600


def require_recent_sign_in(context: Context) -> None:
    """Make sure that the viewer has signed in within the last ten minutes, as the token's `auth_time` says.

    A token that does not say is not recent. Those of development say when they were made.

    Raises:
        StepUpRequired: the sign-in is older; `maxAge` is what to ask the identity provider for (`max_age`).
    """
    signed_in = context.authenticated_at
    if signed_in is None or context.now.timestamp() - signed_in > MAX_AGE_S:
        raise StepUpRequired(maxAge=MAX_AGE_S)
