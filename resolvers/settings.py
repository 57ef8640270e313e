"""What people change about themselves: the profile and the privacy policy."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from domain.errors import Unauthenticated, UserError, UserErrorCode
from domain.events import EventType
from domain.policies import Audience, FieldGroup, PrivacyPolicy
from domain.relationships import WaitingRequests
from domain.texts import (
    LINES_ALLOWED_IN,
    MAX_LABEL,
    MAX_LENGTHS,
    MAX_LINKS,
    clean_text,
    is_printable,
    is_web_address,
)
from domain.users import ProfileLink, User
from resolvers.context import Context, require_viewer
from resolvers.outcomes import Outcome
from resolvers.visibility import fetch_known, meet_one
from storage.cells import Connection
from storage.requests import decide_requests, settle_requests_of
from storage.users import Within, change_user

SETTLED_AT_ONCE: Final = 50
MAX_LISTED: Final = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class ProfileEdit:
    """The texts to change, by their names in the schema (null clears one), and the links where they change."""

    texts: Mapping[str, str | None]
    links: Sequence[ProfileLink] | None
    expected_version: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class PrivacyEdit:
    """What to change of a policy; None leaves a part as it is. People are opaque ids."""

    is_private: bool | None
    audiences: Mapping[FieldGroup, Audience]
    allow: Sequence[str] | None
    deny: Sequence[str] | None
    waiting_requests: WaitingRequests
    expected_version: int | None


_COLUMNS: Final = {
    "displayName": "display_name",
    "bio": "bio",
    "avatarUrl": "avatar_url",
    "pronouns": "pronouns",
    "location": "location",
}


async def update_profile(context: Context, edit: ProfileEdit) -> Outcome:
    """Change the viewer's own profile; texts are trimmed and normalised (NFC), an empty one is cleared.

    Raises:
        Conflict: the profile is not at the expected version.
    """
    await require_viewer(context)
    texts = {name: clean_text(text or "") for name, text in edit.texts.items()}
    errors = [*_text_errors(texts), *_link_errors(edit.links or ())]
    if errors:
        return Outcome(user_errors=tuple(errors))
    changes: dict[str, object] = {_COLUMNS[name]: text for name, text in texts.items()}
    if edit.links is not None:
        changes["links"] = tuple(edit.links)

    def change(user: User) -> User:
        return dataclasses.replace(user, **changes)  # type: ignore[arg-type] # the names are those of _COLUMNS

    return await _change_viewer(context, change, EventType.USER_UPDATED, edit.expected_version)


async def update_privacy(context: Context, edit: PrivacyEdit) -> Outcome:
    """Change the viewer's own privacy policy.

    Raises:
        Conflict: the profile is not at the expected version.
    """
    viewer_id = await require_viewer(context)
    errors = await _listing_errors(context, edit)
    if errors:
        return Outcome(user_errors=tuple(errors))
    unseen = await _unseen(context, viewer_id)

    def change(user: User) -> User:
        return dataclasses.replace(user, policy=_edited(context, user.policy, edit, unseen))

    async def settle_requests(connection: Connection, before: User, after: User) -> None:
        if before.policy.is_private != after.policy.is_private:
            choice = None if after.policy.is_private else edit.waiting_requests
            await decide_requests(connection, after.id, choice)

    outcome = await _change_viewer(
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
    return dataclasses.replace(outcome, user=await meet_one(context, viewer_id))


async def _change_viewer(
    context: Context,
    change: Callable[[User], User],
    event: EventType,
    expected_version: int | None,
    within: Within | None = None,
) -> Outcome:
    viewer_id = await require_viewer(context)
    after = await change_user(
        context.database, viewer_id, change, event=event, expected_version=expected_version, within=within
    )
    if after is None:
        raise Unauthenticated
    context.backend.bell.ring(context.database.shards.home(viewer_id))
    context.loaders.forget()
    token = context.backend.consistency.issue({after.opaque_id: after.version})
    return Outcome(user=await meet_one(context, viewer_id), consistency_token=token)


async def _unseen(context: Context, viewer_id: int) -> frozenset[int]:
    """Give those listed whom the viewer cannot know to be there: a new list leaves them where they are."""
    viewer = await meet_one(context, viewer_id)
    listed = viewer.user.policy.allow | viewer.user.policy.deny if viewer is not None else frozenset()
    return listed - frozenset(await fetch_known(context, sorted(listed)))


def _edited(context: Context, policy: PrivacyPolicy, edit: PrivacyEdit, unseen: frozenset[int]) -> PrivacyPolicy:
    return PrivacyPolicy(
        is_private=policy.is_private if edit.is_private is None else edit.is_private,
        audiences={**policy.audiences, **edit.audiences},
        allow=policy.allow if edit.allow is None else frozenset(context.user_ids(edit.allow)) | policy.allow & unseen,
        deny=policy.deny if edit.deny is None else frozenset(context.user_ids(edit.deny)) | policy.deny & unseen,
    )


async def _listing_errors(context: Context, edit: PrivacyEdit) -> list[UserError]:
    errors = []
    for name, people in (("allow", edit.allow or ()), ("deny", edit.deny or ())):
        if len(people) > MAX_LISTED:
            errors.append(_invalid(f"List at most {MAX_LISTED} people.", name))
            continue
        user_ids = context.user_ids(people)
        known = await fetch_known(context, user_ids)
        for index, user_id in enumerate(user_ids):
            if user_id not in known:
                message = "This person is not available."
                path = ("input", name, str(index))
                errors.append(UserError(UserErrorCode.USER_UNAVAILABLE, message, path))
    return errors


def _text_errors(texts: Mapping[str, str | None]) -> list[UserError]:
    errors = []
    for name, text in texts.items():
        column = _COLUMNS[name]
        if text is None:
            continue
        if len(text) > MAX_LENGTHS[column]:
            errors.append(_invalid(f"At most {MAX_LENGTHS[column]} characters.", name))
        elif not is_printable(text, lines=column in LINES_ALLOWED_IN):
            errors.append(_invalid("Control characters are not allowed.", name))
        elif column == "avatar_url" and not is_web_address(text):
            errors.append(_invalid("An https:// address is needed.", name))
    return errors


def _link_errors(links: Sequence[ProfileLink]) -> list[UserError]:
    if len(links) > MAX_LINKS:
        return [_invalid(f"At most {MAX_LINKS} links.", "links")]
    return [
        _invalid(f"A link is a label of 1 to {MAX_LABEL} characters and an https:// address.", "links", str(index))
        for index, link in enumerate(links)
        if not (0 < len(link.label) <= MAX_LABEL and is_printable(link.label) and is_web_address(link.url))
    ]


def _invalid(message: str, *path: str) -> UserError:
    return UserError(UserErrorCode.INVALID_VALUE, message, ("input", *path))
