"""Forms: what a browser sends from a page of ours, and how it is known that it was one of ours.

Each browser has a random cookie; a form carries its keyed digest, bound to the session as well. What another site has a
browser send has neither, and says so in `Origin` or `Sec-Fetch-Site`.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from identity.forms import BadForm, read_post
from identity.secret_values import digest

FIELD: Final = "form"
MAX_EMAIL: Final = 254
_EMAIL: Final = re.compile(r"[^\s@<>\x00-\x1f\x7f]{1,64}@[^\s@<>.\x00-\x1f\x7f]+(\.[^\s@<>.\x00-\x1f\x7f]+)+")
_NEXT: Final = re.compile(r"/(?:authorize\?|account)[!-\[\]-~]{0,4000}")
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_TRUSTED_SITES: Final = ("same-origin", "none")


class Forged(Exception):
    """The form was not sent from a page of ours, or from one that is too old."""


class TooLarge(Exception):
    """The form is larger than any of ours can be."""


def cookie_name(*, secure: bool, name: str) -> str:
    """Name a cookie so that browsers take it from this very host alone; without HTTPS there is no such name."""
    return f"__Host-kith-{name}" if secure else f"kith-{name}"


def browser_of(request: web.Request, name: str) -> str | None:
    """Give the secret by which a browser is known, if it sent one of ours."""
    value = request.cookies.get(name, "")
    return value if _COOKIE.fullmatch(value) else None


def new_browser() -> str:
    """Make a secret for a browser that has none."""
    return secrets.token_urlsafe(32)


def token_for(key: bytes, browser: str, session_secret: str | None) -> str:
    """Give what forms carry that are shown in a browser to whoever is signed in there."""
    bound = digest(session_secret) if session_secret is not None else b""
    return hmac.digest(key, b"form\0" + browser.encode() + b"\0" + bound, hashlib.sha256).hex()


async def read_form(request: web.Request, origin: str, token: str | None) -> Mapping[str, str]:
    """Read a form; of fields that come twice, the first counts.

    Raises:
        Forged: it does not come from a page of ours that was shown in this browser.
        TooLarge: it is too large.
    """
    if not _is_ours(request, origin):
        raise Forged
    try:
        sent = await read_post(request)
    except web.HTTPRequestEntityTooLarge:
        raise TooLarge from None
    except BadForm:
        raise Forged from None
    form: dict[str, str] = {}
    for name, value in sent.items():
        form.setdefault(name, str(value))
    if token is None or not hmac.compare_digest(form.get(FIELD, "").encode(), token.encode()):
        raise Forged
    return form


def _is_ours(request: web.Request, origin: str) -> bool:
    """Tell whether a page of ours sends this, as far as the browser says.

    From pages that send no referrer, forms have the origin `null`: then the other header has to say that it is us.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in _TRUSTED_SITES:
        return False
    named = request.headers.get("Origin", origin)
    return named == origin or (named == "null" and site == "same-origin")


def clean_email(text: str) -> str | None:
    """Give an address as it is kept; None where it cannot be one."""
    address = text.strip()
    return address if len(address) <= MAX_EMAIL and _EMAIL.fullmatch(address) else None


def clean_next(text: str | None) -> str:
    """Give where to go on after a sign-in: to `/authorize` or a page of the account, and nowhere else."""
    return text if text is not None and _NEXT.fullmatch(text) and "//" not in text.partition("?")[0] else "/account"
