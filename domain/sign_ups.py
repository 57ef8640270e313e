"""What the auth service asks of the user service, and the answers: the one form of both, and of the way between.

Every command may be sent any number of times, and has its effect once.
"""

import datetime as dt
import enum
import uuid
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from domain.events import PersonId, SessionId
from domain.personal import MAX_EMAIL

Email = Annotated[str, Meta(min_length=3, max_length=MAX_EMAIL)]
Moment = Annotated[dt.datetime, Meta(tz=True)]
Version = Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]

MAX_BYTES: Final = 16_384
"""How long the body of a command or an answer is at most."""


class Refusal(enum.StrEnum):
    """Why a sign-up is refused, for good: another name needs another sign-up id."""

    USERNAME_INVALID = "USERNAME_INVALID"
    USERNAME_UNAVAILABLE = "USERNAME_UNAVAILABLE"


class Command(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What every command is."""


class CreateUser(Command, frozen=True, kw_only=True):
    """Make the person of a sign-up, with this name as it is written, and the address that was confirmed."""

    username: Annotated[str, Meta(max_length=200)]
    email: Email
    email_version: Version


class SetEmail(Command, frozen=True, kw_only=True):
    """Take over somebody's address; one of an earlier version than what is there changes nothing."""

    email: Email | None
    version: Version


class Revoke(Command, frozen=True, kw_only=True):
    """Refuse the tokens of a session, or without one all that were issued before the time."""

    user_id: PersonId
    session_id: SessionId | None = None
    revoked_at: Moment


class SignedUp(Command, frozen=True, kw_only=True):
    """The answer to a sign-up: who was made, or why nobody was."""

    user_id: PersonId | None = None
    refusal: Refusal | None = None


class Done(Command, frozen=True, kw_only=True):
    """The answer to any other command; `known` is false where there is nobody (any more) whom it could concern."""

    known: bool


class Standing(enum.StrEnum):
    """What has become of somebody; UNKNOWN is an id that is nobody's, also where it was made under another key."""

    PRESENT = "PRESENT"
    DELETED = "DELETED"
    PURGED = "PURGED"
    UNKNOWN = "UNKNOWN"


class AskStandings(Command, frozen=True, kw_only=True):
    """Ask what has become of people."""

    user_ids: Annotated[list[PersonId], Meta(max_length=200)]


class Standings(Command, frozen=True, kw_only=True):
    """What has become of each, in the order asked for."""

    standings: list[Standing]


class AskPeople(Command, frozen=True, kw_only=True):
    """Ask for people who were made for sign-ups: a page of them, behind where the one before has ended."""

    after: uuid.UUID | None = None


class Made(Command, frozen=True, kw_only=True):
    """Somebody who was made for a sign-up, and is there."""

    sign_up_id: uuid.UUID
    user_id: PersonId


class People(Command, frozen=True, kw_only=True):
    """A page of people, which may be empty; `last` is where the next one begins, and none behind the end."""

    people: list[Made]
    last: uuid.UUID | None


class AskName(Command, frozen=True, kw_only=True):
    """Ask whether a newcomer could have a name, as it is written."""

    username: Annotated[str, Meta(max_length=200)]


class NameStanding(Command, frozen=True, kw_only=True):
    """Whether a newcomer could have a name, and if not, names that could be had when it was asked."""

    is_available: bool
    suggestions: list[str]


def user_path(sign_up_id: uuid.UUID) -> str:
    """Give the path under which the person of a sign-up is made, or taken back."""
    return f"/internal/users/{sign_up_id}"


def email_path(user_id: str) -> str:
    """Give the path of somebody's address."""
    return f"/internal/users/{user_id}/email"


NAMES: Final = "/internal/names"
REVOCATIONS: Final = "/internal/revocations"
STANDINGS: Final = "/internal/standings"
PEOPLE: Final = "/internal/people"
