"""Names by which people are found: their form and the key that makes them unique."""

import re
import unicodedata
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
    if len(text) > MAX_LENGTH * 4:
        return None
    key = unicodedata.normalize("NFKC", text).casefold()
    return key if MIN_LENGTH <= len(key) <= MAX_LENGTH and _FORM.fullmatch(key) else None


def is_claimable(key: str) -> bool:
    """Tell whether anybody may have this key as a name; reserved words and their dotted forms are nobody's."""
    return key.replace(".", "").replace("_", "") not in RESERVED
