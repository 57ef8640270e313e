"""What people change about themselves: the profile, and what every such change has in common."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from domain.errors import Unauthenticated, UserError, UserErrorCode
from domain.events import EventType
from domain.personal import OLDEST_BIRTH, PersonalDetails, clean_phone, may_be_born
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
from resolvers.consistency import PROFILE
from resolvers.context import Context, require_viewer
from resolvers.outcomes import Outcome
from resolvers.visibility import meet_one
from storage.cells import Connection
from storage.personal import change_details
from storage.users import Beside, Within, change_user


@dataclasses.dataclass(frozen=True, slots=True)
class ProfileEdit:
    """The texts to change, by their names in the schema (null clears one), and the links where they change."""

    texts: Mapping[str, str | None]
    links: Sequence[ProfileLink] | None
    expected_version: int | None
    details: Mapping[str, str | dt.date | None] = dataclasses.field(default_factory=dict)
    """What to change of the phone number and the date of birth, by their names in the schema; null clears one."""


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
    viewer_id = await require_viewer(context)
    texts = {name: clean_text(text or "") for name, text in edit.texts.items()}
    details = _read_details(edit.details)
    errors = [*_text_errors(texts), *_link_errors(edit.links or ()), *_detail_errors(edit.details, details, context)]
    if errors:
        return Outcome(user_errors=tuple(errors))
    changes: dict[str, object] = {_COLUMNS[name]: text for name, text in texts.items()}
    if edit.links is not None:
        changes["links"] = tuple(edit.links)

    def change(user: User) -> User:
        return replace(user, **changes)

    async def beside(connection: Connection) -> tuple[PersonalDetails, PersonalDetails] | None:
        def changed(before: PersonalDetails) -> PersonalDetails:
            return dataclasses.replace(before, **details)  # type: ignore[arg-type] # the names are those of the record

        return await change_details(connection, context.backend.vault, viewer_id, changed)

    return await change_viewer(
        context, change, EventType.USER_UPDATED, edit.expected_version, beside=beside if details else None
    )


def _read_details(details: Mapping[str, str | dt.date | None]) -> dict[str, str | dt.date | None]:
    """Give details by the names of their record, phone numbers as E.164 has them; one that is none stays out."""
    read: dict[str, str | dt.date | None] = {}
    for name, value in details.items():
        if isinstance(value, str):
            phone = clean_phone(value) if value.strip() else None
            if phone is not None or not value.strip():
                read["phone"] = phone
        else:
            read["birth_date" if name == "birthDate" else name] = value
    return read


def _detail_errors(
    details: Mapping[str, str | dt.date | None], read: Mapping[str, object], context: Context
) -> list[UserError]:
    errors = []
    if "phone" in details and "phone" not in read:
        errors.append(invalid("A phone number begins with + and the country's code: +49 30 123456.", "phone"))
    date = read.get("birth_date")
    if isinstance(date, dt.date) and not may_be_born(date, context.now.date()):
        errors.append(invalid(f"A date between {OLDEST_BIRTH} and today is needed.", "birthDate"))
    return errors


async def change_viewer(
    context: Context,
    change: Callable[[User], User],
    event: EventType,
    expected_version: int | None,
    *,
    within: Within | None = None,
    beside: Beside | None = None,
) -> Outcome:
    """Apply a change to the viewer's own row, and tell of it; see `storage.users.change_user`."""
    viewer_id = await require_viewer(context)
    after = await change_user(
        context.database,
        viewer_id,
        change,
        event=event,
        expected_version=expected_version,
        within=within,
        beside=beside,
    )
    if after is None:
        raise Unauthenticated
    context.backend.bell.ring(context.database.shards.home(viewer_id))
    context.loaders.forget()
    token = await context.issue_token({PROFILE + after.opaque_id: after.version}, (viewer_id,))
    return Outcome(user=await meet_one(context, viewer_id), consistency_token=token)


def _text_errors(texts: Mapping[str, str | None]) -> list[UserError]:
    errors = []
    for name, text in texts.items():
        column = _COLUMNS[name]
        if text is None:
            continue
        if len(text) > MAX_LENGTHS[column]:
            errors.append(invalid(f"At most {MAX_LENGTHS[column]} characters.", name))
        elif not is_printable(text, lines=column in LINES_ALLOWED_IN):
            errors.append(invalid("Control characters are not allowed.", name))
        elif column == "avatar_url" and not is_web_address(text):
            errors.append(invalid("An https:// address is needed.", name))
    return errors


def _link_errors(links: Sequence[ProfileLink]) -> list[UserError]:
    if len(links) > MAX_LINKS:
        return [invalid(f"At most {MAX_LINKS} links.", "links")]
    return [
        invalid(f"A link is a label of 1 to {MAX_LABEL} characters and an https:// address.", "links", str(index))
        for index, link in enumerate(links)
        if not (0 < len(link.label) <= MAX_LABEL and is_printable(link.label) and is_web_address(link.url))
    ]


def invalid(message: str, *path: str) -> UserError:
    """Say what is wrong with a value of the input."""
    return UserError(UserErrorCode.INVALID_VALUE, message, ("input", *path))
