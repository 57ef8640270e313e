"""Names: whether one may be had, what else there is, and taking another."""

import dataclasses
import secrets
from collections.abc import Sequence
from typing import Final

from domain.errors import Unauthenticated, UserErrorCode
from domain.rate_limits import OperationClass
from domain.username_requirements import Account, UsernameRequirement, requirements_for
from domain.usernames import UsernameProblem, is_claimable, suggestions_for, username_key, written_username
from domain.users import User
from resolvers.consistency import PROFILE
from resolvers.context import NOBODY, Context, require_viewer
from resolvers.outcomes import Outcome, refused
from resolvers.visibility import meet_one
from storage.names import UsernameTaken, fetch_unavailable
from storage.renames import RenamedTooOften, change_username, let_former_go
from storage.tallies import fetch_people

SUGGESTIONS: Final = 3
_CANDIDATES: Final = 12
_NO_NAME: Final = "2 to 30 letters and digits, with single dots or underscores inside."


@dataclasses.dataclass(frozen=True, slots=True)
class Availability:
    """Whether the viewer could have a name; a short one has a checklist of what the account needs."""

    username: str
    problem: UsernameProblem | None
    suggestions: Sequence[str] = ()
    requirements: Sequence[UsernameRequirement] = ()

    @property
    def is_available(self) -> bool:
        """Tell whether nothing speaks against it."""
        return self.problem is None


async def fetch_availability(context: Context, username: str) -> Availability:
    """Say whether the viewer, or a newcomer where nobody is signed in, could have a name.

    A name is not available for one reason alone, whether somebody has it, gave it up, looks like it, or nobody may.

    Raises:
        RateLimited: the viewer, or the address, asked this too often.
    """
    await context.count(OperationClass.AVAILABILITY)
    viewer_id = context.viewer_id or NOBODY
    key = username_key(username)
    if key is None:
        return Availability(username, UsernameProblem.INVALID)
    candidates = suggestions_for(key, secrets.randbelow, _CANDIDATES)
    taken = await _fetch_taken(context, [key, *candidates], viewer_id)
    requirements = await _fetch_requirements(context, key, viewer_id)
    problem = None
    if key in taken:
        problem = UsernameProblem.UNAVAILABLE
    elif not all(line.is_met for line in requirements):
        problem = UsernameProblem.REQUIREMENTS
    free = [] if problem is None else [name for name in candidates if name not in taken]
    return Availability(username, problem, free[:SUGGESTIONS], requirements)


async def rename(context: Context, username: str, *, keep_former: bool) -> Outcome:
    """Give the viewer another name. What cannot be a name is no attempt.

    Raises:
        Unauthenticated: nobody is signed in.
        RateLimited: the viewer tried this too often.
    """
    viewer_id = await require_viewer(context)
    key = username_key(username)
    if key is None:
        return refused(UserErrorCode.INVALID_VALUE, _NO_NAME, "username")
    await context.count(OperationClass.RENAME)
    if not is_claimable(key):
        return _unavailable()
    missing = [line.message for line in await _fetch_requirements(context, key, viewer_id) if not line.is_met]
    if missing:
        return refused(UserErrorCode.USERNAME_REQUIREMENTS, " ".join(missing), "username")
    try:
        user = await change_username(
            context.database, viewer_id, written_username(username), now=context.now, keep_former=keep_former
        )
    except UsernameTaken:
        return _unavailable()
    except RenamedTooOften as often:
        message = f"The name may be changed again from {often.allowed_at:%Y-%m-%dT%H:%MZ} on."
        return refused(UserErrorCode.USERNAME_CHANGE_LIMIT, message, "username")
    if user is None:
        raise Unauthenticated
    return await _changed(context, user)


async def remove_former(context: Context) -> Outcome:
    """Let the viewer's former names lead nowhere."""
    viewer_id = await require_viewer(context)
    await let_former_go(context.database, viewer_id, now=context.now)
    return Outcome(user=await meet_one(context, viewer_id))


async def _changed(context: Context, user: User) -> Outcome:
    context.backend.bell.ring(context.database.shards.home(user.id))
    context.loaders.forget()
    token = await context.issue_token({PROFILE + user.opaque_id: user.version}, (user.id,))
    return Outcome(user=await meet_one(context, user.id), consistency_token=token)


def _unavailable() -> Outcome:
    return refused(UserErrorCode.USERNAME_UNAVAILABLE, "This name is not available.", "username")


async def _fetch_taken(context: Context, keys: Sequence[str], viewer_id: int) -> set[str]:
    taken = await fetch_unavailable(context.database, keys, viewer_id, context.now)
    return taken | {key for key in keys if not is_claimable(key)}


async def _fetch_requirements(context: Context, key: str, viewer_id: int) -> list[UsernameRequirement]:
    """Give the checklist of a name; whoever has the name already needs nothing more."""
    if not requirements_for(key, Account(), context.now):
        return []
    found = (await fetch_people(context.database, [viewer_id])).get(viewer_id) if viewer_id != NOBODY else None
    if found is None:
        return requirements_for(key, Account(), context.now)
    user, tally = found
    if username_key(user.username) == key:
        return []
    account = Account(user.created_at, user.display_name is not None, tally.counts.followers)
    return requirements_for(key, account, context.now)
