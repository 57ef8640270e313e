"""What is personal beyond the profile: kept encrypted, and never remembered outside of one request."""

import dataclasses
import datetime as dt
import re
from typing import Final

MAX_EMAIL: Final = 254
"""How long an address is at most (RFC 5321, 4.5.3.1.3, without its brackets)."""
OLDEST_BIRTH: Final = dt.date(1900, 1, 1)
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_SEPARATORS: Final = re.compile(r"[ ()./-]")


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class PersonalDetails:
    """A person's phone number (E.164), date of birth and e-mail address, where they are given.

    The address is the auth service's to change: `email_version` orders what it says.
    """

    phone: str | None = None
    birth_date: dt.date | None = None
    email: str | None = None
    email_version: int = 0


NO_DETAILS: Final = PersonalDetails()


def clean_phone(text: str) -> str | None:
    """Give a phone number in the form of E.164, such as +4930123456; None where it is none."""
    bare = _SEPARATORS.sub("", text.strip())
    return bare if bare.isascii() and _PHONE.fullmatch(bare) else None


def is_email(text: str) -> bool:
    """Tell whether a text has the form of an e-mail address; whether it is one, only a mail to it can tell."""
    local, at, host = text.rpartition("@")
    return bool(local and at and host) and len(text) <= MAX_EMAIL and text.isprintable() and " " not in text


def may_be_born(date: dt.date, today: dt.date) -> bool:
    """Tell whether somebody who lives today may have been born then."""
    return OLDEST_BIRTH <= date <= today
