"""What a text of a profile may be: its length in characters, what it may hold, and addresses."""

import unicodedata
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

MAX_ADDRESS: Final = 500
MAX_LABEL: Final = 40
MAX_LINKS: Final = 5
MAX_LENGTHS: Final[Mapping[str, int]] = {
    "display_name": 50,
    "bio": 500,
    "avatar_url": MAX_ADDRESS,
    "pronouns": 40,
    "location": 80,
}
"""By the names of `domain.users.User`."""

LINES_ALLOWED_IN: Final = frozenset({"bio"})
_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Cn"})


def clean_text(text: str) -> str | None:
    """Trim and normalise (NFC, line ends as one line feed); what is empty then is None."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip() or None


def is_printable(text: str, *, lines: bool = False) -> bool:
    """Refuse control and unassigned characters and lone surrogates, which neither PostgreSQL nor a page can show."""
    if text.isprintable():
        return True
    return not any(
        unicodedata.category(character) in _UNPRINTABLE and not (lines and character == "\n") for character in text
    )


def is_web_address(text: str) -> bool:
    """Accept https:// addresses in plain ASCII, with a host and without a user, of 500 characters at most."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # reading it refuses what is none
    except ValueError:
        return False
    is_plain = len(text) <= MAX_ADDRESS and text.isascii() and text.isprintable() and " " not in text
    return is_plain and parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
