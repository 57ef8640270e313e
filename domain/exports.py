"""The export of a person's own data: which files there are, and the form of each.

Other people are ids, with a name where the person may meet them at the moment of the export.
"""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from domain.holdings import Account, AccountAction, Application, SignIn

KEPT: Final = dt.timedelta(days=7)
"""How long an archive can be fetched."""
ANEW_AFTER: Final = dt.timedelta(days=1)
"""How old an archive must be before another is made."""


@dataclasses.dataclass(frozen=True, slots=True)
class Export:
    """How far an export has come; `expires_at` is set once it is ready."""

    id: uuid.UUID
    user_id: int
    requested_at: dt.datetime
    files_done: int
    files: int
    expires_at: dt.datetime | None

    @property
    def progress(self) -> float:
        """Give the part that is done, from 0 to 1."""
        return 1.0 if self.expires_at is not None else self.files_done / self.files


class _Entry(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What every entry is."""


class OtherPerson(_Entry, frozen=True):
    """Somebody else: the id, and the name where the owner of the export may meet that person."""

    id: str
    username: str | None


class LinkEntry(_Entry, frozen=True):
    """A link of the profile."""

    label: str
    url: str


class ProfileEntry(_Entry, frozen=True):
    """The profile."""

    id: str
    username: str
    display_name: str | None
    bio: str | None
    avatar_url: str | None
    pronouns: str | None
    location: str | None
    email: str | None
    phone: str | None
    birth_date: dt.date | None
    links: list[LinkEntry]
    created_at: dt.datetime
    followers: int
    following: int


class PrivacyEntry(_Entry, frozen=True):
    """Who may see what."""

    is_private: bool
    audiences: dict[str, str]
    allow: list[OtherPerson]
    deny: list[OtherPerson]


class FollowEntry(_Entry, frozen=True):
    """A follow, or a request that waits."""

    person: OtherPerson
    since: dt.datetime | None
    pending: bool


class KeptAwayEntry(_Entry, frozen=True):
    """A block or a mute of one's own."""

    person: OtherPerson
    until: dt.datetime | None


class NotificationEntry(_Entry, frozen=True):
    """Something that was told."""

    kind: str
    actor: OtherPerson
    created_at: dt.datetime
    read_at: dt.datetime | None


class PreferencesEntry(_Entry, frozen=True):
    """What one wants to be told of."""

    followed: str
    strangers: str
    new_accounts: str
    new_account_days: int


class ConsentEntry(_Entry, frozen=True):
    """Something that one agreed to, refused or took back."""

    at: dt.datetime
    purpose: str
    granted: bool
    version: str | None
    source: str


class ActionEntry(_Entry, frozen=True):
    """Something that one did."""

    at: dt.datetime
    action: str
    person: OtherPerson | None


class AccountEntry(_Entry, frozen=True):
    """The account that one signs in with, and who holds it; without an account, that one knows more."""

    held_by: str
    account: Account | None


FILES: Final[Mapping[str, Any]] = {
    "account": AccountEntry,
    "sign-ins": list[SignIn],
    "applications": list[Application],
    "account-actions": list[AccountAction],
    "profile": ProfileEntry,
    "privacy": PrivacyEntry,
    "notification-preferences": PreferencesEntry,
    "following": list[FollowEntry],
    "followers": list[FollowEntry],
    "blocks": list[KeptAwayEntry],
    "mutes": list[KeptAwayEntry],
    "notifications": list[NotificationEntry],
    "consents": list[ConsentEntry],
    "actions": list[ActionEntry],
}
"""The files of an archive, each `<name>.json` beside `<name>.schema.json`."""


def schema_of(name: str) -> dict[str, Any]:
    """Give the JSON Schema of a file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(FILES[name])}
