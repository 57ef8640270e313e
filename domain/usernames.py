"""Names by which people are found: their form, the key that makes them unique, and what keeps look-alikes apart."""

import enum
import functools
import re
import unicodedata
from collections.abc import Callable
from typing import Final

MIN_LENGTH: Final = 2
MAX_LENGTH: Final = 30
_FORM: Final = re.compile(r"[a-z0-9](?:[a-z0-9]|[._](?=[a-z0-9]))*", re.ASCII)

RESERVED: Final = frozenset(
    "about account accounts admin administrator api app auth billing blog everyone graphql healthz help here home "
    "kith legal login logout me metrics moderator null official openapi postmaster privacy readyz root security "
    "self settings signin signout signup staff status support system team terms undefined user users v1 viewer "
    "webmaster www you".split()
)


def username_key(text: str) -> str | None:
    """Give the key under which a name is unique, or None where the text cannot be a name.

    Compatibility forms and case fold away (Unicode NFKC, then case folding), so that look-alikes in other widths
    or cases are the same name; what is left must be ASCII letters and digits, with single dots or underscores inside.
    """
    return _key_of(text) if len(text) <= MAX_LENGTH * 4 else None


@functools.lru_cache(maxsize=4096)
def _key_of(text: str) -> str | None:
    key = unicodedata.normalize("NFKC", text).casefold()
    return key if MIN_LENGTH <= len(key) <= MAX_LENGTH and _FORM.fullmatch(key) else None


class UsernameProblem(enum.Enum):
    """Why a name cannot be had."""

    INVALID = "INVALID"
    UNAVAILABLE = "UNAVAILABLE"
    REQUIREMENTS = "REQUIREMENTS"


def username_skeleton(key: str) -> str:
    """Give what is left of a key when whatever looks alike is one: of names with one skeleton there is one holder.

    After the skeletons of UTS #39, for what a key may hold: in some type, and in capitals as names may be written,
    0 is O, 1 and i are l, rn is m, vv is w; and whether a dot or an underscore stands between is soon forgotten.
    """
    return key.translate(_LOOK_ALIKES).replace("rn", "m").replace("vv", "w")


def written_username(text: str) -> str:
    """Give a name as its holder writes it, in the letters of its key."""
    written = unicodedata.normalize("NFKC", text)
    return written if written.isascii() else written.casefold()


def is_claimable(key: str) -> bool:
    """Tell whether anybody may have this key as a name; reserved words and what looks like them are nobody's."""
    return username_skeleton(key.replace(".", "").replace("_", "")) not in _RESERVED_SKELETONS


def suggestions_for(key: str, below: Callable[[int], int], count: int) -> list[str]:
    """Make names that begin like this one; `below` chooses a number from 0 on."""
    stem = key[: MAX_LENGTH - _SUGGESTED_DIGITS - 1]
    numbers = [below(10**_SUGGESTED_DIGITS) for _ in range(count)]
    names = [f"{stem}{number:0{_SUGGESTED_DIGITS}}" for number in numbers]
    return [name for name in dict.fromkeys(names) if username_key(name) == name and is_claimable(name)]


_LOOK_ALIKES: Final = str.maketrans("01i.", "oll_")
_RESERVED_SKELETONS: Final = frozenset(map(username_skeleton, RESERVED))
_SUGGESTED_DIGITS: Final = 4
