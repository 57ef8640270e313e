"""What a row of an import file has to look like. Pure: columns in, a value or the reason against it out."""

import dataclasses
import datetime as dt
import re
from collections.abc import Mapping
from typing import Final

from domain.texts import LINES_ALLOWED_IN, MAX_LENGTHS, clean_text, is_printable, is_web_address
from domain.usernames import is_claimable, username_key

MAX_OLD_ID: Final = 64
USER_COLUMNS: Final = ("id", "username")
USER_OPTIONS: Final = (*MAX_LENGTHS, "created_at", "is_private")
FOLLOW_COLUMNS: Final = ("follower_id", "followee_id")
FOLLOW_OPTIONS: Final = ("followed_at",)
EDGE_COLUMNS: Final = ("user_a", "user_b")

DUPLICATE_ID: Final = "duplicate id"
USERNAME_TAKEN: Final = "username taken"
BLOCKED: Final = "one of the two has blocked the other"

_BOOLEANS: Final = {"": False, "true": True, "false": False}
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_FIRST_DATE: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)  # lists page from here on


class BadRow(Exception):
    """The row cannot be imported; the message is the reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class UserRow:
    """A person as the file tells; `username` is kept as it is written."""

    line: int
    old_id: str
    username: str
    name_key: str
    display_name: str | None = None
    bio: str | None = None
    avatar_url: str | None = None
    pronouns: str | None = None
    location: str | None = None
    created_at: dt.datetime | None = None
    is_private: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class FollowRow:
    """A follow as the file tells, in old ids."""

    line: int
    follower: str
    followee: str
    followed_at: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not imported, and why."""

    line: int
    reason: str


def parse_user(line: int, values: Mapping[str, str]) -> UserRow:
    """Read a row of users.csv; raises BadRow."""
    old_id = _old_id(values["id"], "id")
    username, key = _username(values["username"])
    return UserRow(
        line,
        old_id,
        username,
        key,
        **{column: _text(column, values.get(column, "")) for column in MAX_LENGTHS if column != "avatar_url"},
        avatar_url=_address(values.get("avatar_url", "")),
        created_at=_date("created_at", values.get("created_at", "")),
        is_private=_boolean("is_private", values.get("is_private", "")),
    )


def parse_follow(line: int, values: Mapping[str, str]) -> FollowRow:
    """Read a row of follows.csv; raises BadRow."""
    follower = _old_id(values["follower_id"], "follower_id")
    followee = _old_id(values["followee_id"], "followee_id")
    if follower == followee:
        raise BadRow("self-follow")
    return FollowRow(line, follower, followee, _date("followed_at", values.get("followed_at", "")))


def parse_edge(line: int, values: Mapping[str, str]) -> FollowRow:
    """Read a row of an edge list of numbers; raises BadRow."""
    for column in EDGE_COLUMNS:
        if not _NUMBER.fullmatch(values[column]):
            raise BadRow(f"{column} is not a number")
    if values["user_a"] == values["user_b"]:
        raise BadRow("self-follow")
    return FollowRow(line, values["user_a"], values["user_b"])


def synthesise_user(line: int, number: str) -> UserRow:
    """Make a person out of a number of an edge list."""
    name = f"gh{number}"
    return UserRow(line, number, name, name, display_name=f"Developer {number}")


def _old_id(text: str, column: str) -> str:
    if not text:
        raise BadRow(f"missing {column}")
    if len(text) > MAX_OLD_ID:
        raise BadRow(f"{column} is too long")
    _check_printable(column, text)
    return text


def _username(text: str) -> tuple[str, str]:
    if not text:
        raise BadRow("missing username")
    _check_printable("username", text)
    key = username_key(text)
    if key is None:
        raise BadRow("invalid username")
    if not is_claimable(key):
        raise BadRow("reserved username")
    return text, key


def _text(column: str, text: str) -> str | None:
    cleaned = clean_text(text)
    if cleaned is None:
        return None
    if len(cleaned) > MAX_LENGTHS[column]:
        raise BadRow(f"{column} is too long")
    _check_printable(column, cleaned)
    return cleaned


def _check_printable(column: str, text: str) -> None:
    if not is_printable(text, lines=column in LINES_ALLOWED_IN):
        raise BadRow(f"control character in {column}")


def _address(text: str) -> str | None:
    address = _text("avatar_url", text)
    if address is not None and not is_web_address(address):
        raise BadRow("avatar_url is not an https:// address")
    return address


def _date(column: str, text: str) -> dt.datetime | None:
    """Read ISO 8601, in UTC where no offset is given; before 1970 and after today no date is believed."""
    if not text:
        return None
    bad = BadRow(f"bad date in {column}")
    try:
        date = dt.datetime.fromisoformat(text)
        date = date if date.tzinfo else date.replace(tzinfo=dt.UTC)
        is_believed = _FIRST_DATE < date < dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    except (ValueError, OverflowError):
        raise bad from None
    if not is_believed:
        raise bad
    return date


def _boolean(column: str, text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise BadRow(f"bad boolean in {column}") from None
