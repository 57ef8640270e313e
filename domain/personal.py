"""What is personal beyond the profile: kept encrypted, and never remembered outside of one request."""

import dataclasses
import datetime as dt
import re
from typing import Final

OLDEST_BIRTH: Final = dt.date(1900, 1, 1)
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_SEPARATORS: Final = re.compile(r"[ ()./-]")


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class PersonalDetails:
    """A person's phone number (E.164) and date of birth, where they are given."""

    phone: str | None = None
    birth_date: dt.date | None = None


NO_DETAILS: Final = PersonalDetails()


def clean_phone(text: str) -> str | None:
    """Give a phone number in the form of E.164, such as +4930123456; None where it is none."""
    bare = _SEPARATORS.sub("", text.strip())
    return bare if bare.isascii() and _PHONE.fullmatch(bare) else None


def may_be_born(date: dt.date, today: dt.date) -> bool:
    """Tell whether somebody who lives today may have been born then."""
    return OLDEST_BIRTH <= date <= today
