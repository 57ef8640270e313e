"""Changing the own privacy policy: presets, audiences and lists, checked as a whole before anything is written."""

import dataclasses
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from domain.errors import UserError, UserErrorCode
from domain.events import EventType
from domain.policies import MAX_LISTED, AudienceSetting, PrivacyPolicy, PrivacyPreset, apply_preset, listed
from domain.relationships import WaitingRequests
from domain.users import User
from resolvers.consistency import PROFILE
from resolvers.context import Context, require_viewer
from resolvers.outcomes import Outcome
from resolvers.settings import change_viewer, invalid
from resolvers.visibility import fetch_known, meet_one
from storage.cells import Connection
from storage.requests import decide_requests, settle_requests_of

SETTLED_AT_ONCE: Final = 50
_UNREADABLE: Final = (
    "Your privacy settings are kept, but cannot be read just now; until they can, only you see your profile."
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyEdit:
    """What to change of a policy: the preset first, all else over it. None leaves a part; people are opaque ids."""

    preset: PrivacyPreset | None = None
    is_private: bool | None = None
    audiences: Sequence[AudienceSetting] = ()
    allow: Sequence[str] | None = None
    deny: Sequence[str] | None = None
    waiting_requests: WaitingRequests = WaitingRequests.ACCEPT
    expected_version: int | None = None

    @property
    def is_empty(self) -> bool:
        """Tell whether it names nothing to change."""
        named = (self.preset, self.is_private, self.allow, self.deny)
        return not self.audiences and all(part is None for part in named)


class _Refused(Exception):
    """The policy would both allow and deny somebody, or nobody knows what it says."""

    def __init__(self, errors: Sequence[UserError]) -> None:
        super().__init__()
        self.errors = tuple(errors)


async def update_privacy(context: Context, edit: PrivacyEdit) -> Outcome:
    """Change the viewer's own privacy policy.

    Raises:
        Conflict: the profile is not at the expected version.
    """
    viewer_id = await require_viewer(context)
    errors = [*_setting_errors(edit), *await _list_errors(context, viewer_id, edit)]
    if errors:
        return Outcome(user_errors=tuple(errors))
    try:
        return await _update(context, viewer_id, edit)
    except _Refused as refused:
        return Outcome(user_errors=refused.errors)


async def _update(context: Context, viewer_id: int, edit: PrivacyEdit) -> Outcome:
    unseen = await _unseen(context, viewer_id)

    def change(user: User) -> User:
        if user.policy.unread is not None:
            raise _Refused([UserError(UserErrorCode.POLICY_UNREADABLE, _UNREADABLE, ("input",))])
        policy = _edited(context, user.policy, edit, unseen)
        _refuse_contradictions(context, policy, edit)
        return replace(user, policy=policy)

    async def settle_requests(connection: Connection, before: User, after: User) -> None:
        if before.policy.is_private != after.policy.is_private:
            choice = None if after.policy.is_private else edit.waiting_requests
            await decide_requests(connection, after.id, choice)

    outcome = await change_viewer(
        context, change, EventType.PRIVACY_UPDATED, edit.expected_version, within=settle_requests
    )
    if outcome.user is not None and not outcome.user.user.policy.is_private:
        return await _settled(context, outcome, viewer_id)
    return outcome


async def _settled(context: Context, outcome: Outcome, viewer_id: int) -> Outcome:
    """Settle the first of those who wait now, and answer with what came of it; upkeep settles the rest."""
    await settle_requests_of(context.database, viewer_id, context.now, limit=SETTLED_AT_ONCE)
    for cell in context.database.shards.cells:  # each pair's event lies in the cell that decided about the pair
        context.backend.bell.ring(cell)
    context.loaders.forget()
    user = await meet_one(context, viewer_id)
    # Rows of many cells have changed: a token without their positions keeps its reader away from all replicas.
    versions = {PROFILE + user.user.opaque_id: user.user.version} if user is not None else {}
    return dataclasses.replace(outcome, user=user, consistency_token=context.backend.consistency.issue(versions))


async def _unseen(context: Context, viewer_id: int) -> frozenset[int]:
    """Give those listed whom the viewer cannot know to be there: a new list leaves them where they are."""
    viewer = await meet_one(context, viewer_id)
    people = viewer.user.policy.allow | viewer.user.policy.deny if viewer is not None else frozenset()
    return people - frozenset(await fetch_known(context, sorted(people)))


def _edited(context: Context, policy: PrivacyPolicy, edit: PrivacyEdit, unseen: frozenset[int]) -> PrivacyPolicy:
    policy = policy if edit.preset is None else apply_preset(policy, edit.preset)
    return PrivacyPolicy(
        is_private=policy.is_private if edit.is_private is None else edit.is_private,
        audiences={**policy.audiences, **{setting.group: setting.audience for setting in edit.audiences}},
        allow=policy.allow if edit.allow is None else listed(context.user_ids(edit.allow), policy.allow & unseen),
        deny=policy.deny if edit.deny is None else listed(context.user_ids(edit.deny), policy.deny & unseen),
    )


def _setting_errors(edit: PrivacyEdit) -> list[UserError]:
    if edit.is_empty:
        return [UserError(UserErrorCode.INVALID_VALUE, "Name something to change.", ("input",))]
    groups = [setting.group for setting in edit.audiences]
    return [
        invalid("Name each group once.", "audiences", str(index), "group")
        for index, group in enumerate(groups)
        if groups.index(group) < index
    ]


async def _list_errors(context: Context, viewer_id: int, edit: PrivacyEdit) -> list[UserError]:
    errors = []
    for name, people in (("allow", edit.allow or ()), ("deny", edit.deny or ())):
        if len(people) > MAX_LISTED:
            errors.append(invalid(f"List at most {MAX_LISTED} people.", name))
            continue
        user_ids = context.user_ids(people)
        known = frozenset(await fetch_known(context, user_ids))
        errors += _entry_errors(name, user_ids, known, viewer_id)
    return errors


def _entry_errors(name: str, user_ids: Sequence[int], known: frozenset[int], viewer_id: int) -> list[UserError]:
    errors = []
    before = set[int]()
    for index, user_id in enumerate(user_ids):
        path = ("input", name, str(index))
        if user_id not in known:  # first of all, since nothing else may be told of whoever is hidden
            errors.append(UserError(UserErrorCode.USER_UNAVAILABLE, "This person is not available.", path))
        elif user_id == viewer_id:
            errors.append(UserError(UserErrorCode.CANNOT_TARGET_SELF, "You cannot list yourself.", path))
        elif user_id in before:
            errors.append(UserError(UserErrorCode.INVALID_VALUE, "List each person once.", path))
        before.add(user_id)
    return errors


def _refuse_contradictions(context: Context, policy: PrivacyPolicy, edit: PrivacyEdit) -> None:
    """Refuse to list a person whom the other list holds afterwards; whom the edit does not name is left alone."""
    errors = [
        invalid("This person is on the other list as well.", name, str(index))
        for name, people, others in (("allow", edit.allow, policy.deny), ("deny", edit.deny, policy.allow))
        for index, user_id in enumerate(context.user_ids(people or ()))
        if user_id in others
    ]
    if errors:
        raise _Refused(errors)
