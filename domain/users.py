"""People and their public figures."""

import dataclasses
import datetime as dt
import enum

import msgspec

from domain.policies import PrivacyPolicy


class UserState(enum.IntEnum):
    """Whether a person can be met; of the purged nothing but this is left. The numbers are stored."""

    ACTIVE = 1
    SUSPENDED = 2
    DELETED = 3
    PURGED = 4


@dataclasses.dataclass(frozen=True, slots=True)
class ProfileLink:
    """A link that a person shows on the profile."""

    label: str
    url: str


class User(msgspec.Struct, frozen=True):
    """One person's profile and policy, as of `version`."""

    id: int
    opaque_id: str
    username: str
    display_name: str | None
    bio: str | None
    avatar_url: str | None
    pronouns: str | None
    location: str | None
    links: tuple[ProfileLink, ...]
    policy: PrivacyPolicy
    state: UserState
    version: int
    created_at: dt.datetime

    def has_name(self, key: str) -> bool:
        """Tell whether a key, as `domain.usernames.username_key` makes them, is that of the person's name."""
        return self.username.casefold() == key


class Counts(msgspec.Struct, frozen=True):
    """How many follow a person and how many the person follows, exact at every commit."""

    followers: int = 0
    following: int = 0
