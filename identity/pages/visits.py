"""A visit: one request for a page, by whom and from where, and the ways to answer it."""

import dataclasses
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from domain.rate_limits import OperationClass
from identity.accounts import Account, fetch_account
from identity.database import Unavailable
from identity.limits import TooOften
from identity.pages import forms
from identity.parts import Parts
from identity.passwords import Busy, TooLong
from identity.sessions import Session, fetch_session
from storage.vault import DataKey, WrappedKey
from transport.addresses import address_of

CONTINUE: Final = "continue"
"""The field that says where to go on after signing in."""
FRESH: Final = dt.timedelta(minutes=10)
"""How old a sign-in may be for what a forgotten session must not do."""
_LOG: Final = logging.getLogger(__name__)
_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a form: the field it is about, and a sentence."""

    field: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """What a page says that asks for nothing, and where its link leads."""

    title: str
    text: str
    onward: str = "/sign-in"
    way: str = "Sign in"


class NotSignedIn(Exception):
    """This page is for somebody who is signed in, and lately where `lately` says so."""

    def __init__(self, *, lately: bool) -> None:
        super().__init__()
        self.lately = lately


@dataclasses.dataclass(slots=True)
class Visit:
    """One request for a page."""

    parts: Parts
    request: web.Request
    browser: str
    is_new: bool
    session: Session | None
    secret: str | None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    form: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def now(self) -> dt.datetime:
        """Give the time."""
        return self.parts.clock()

    @property
    def address(self) -> str:
        """Give where the visit comes from."""
        return address_of(self.request, self.parts.settings.proxies)

    @property
    def next(self) -> str:
        """Give where to go on after signing in."""
        return forms.clean_next(self.form.get(CONTINUE) or self.request.query.get(CONTINUE))

    @property
    def token(self) -> str:
        """Give what the forms of this visit carry."""
        return forms.token_for(self.parts.keys.pages, self.browser, self.secret if self.session else None)

    def field(self, name: str) -> str:
        """Give what was filled in; nothing where the form lacks it."""
        return self.form.get(name, "")

    async def count(self, operation: OperationClass, account: str | None = None) -> None:
        """Count what is done, and tell in the answer's headers what is left; raises TooOften."""
        self.headers.update(await self.parts.credentials.limits.count(operation, self.address, account))

    async def require_account(self, *, lately: bool = False) -> tuple[Session, Account]:
        """Give who is signed in.

        Raises:
            NotSignedIn: nobody is, or not lately enough.
        """
        session = self.session
        if session is None or (lately and self.now - session.authenticated_at > FRESH):
            raise NotSignedIn(lately=session is not None)
        async with self.parts.database.connection() as connection:
            account = await fetch_account(connection, session.account_id)
        if account is None:
            raise NotSignedIn(lately=False)
        return session, account

    async def key_of(self, account: Account) -> DataKey:
        """Open the key of an account."""
        email = account.email
        return await self.parts.vault.open(WrappedKey(account.id.int, email.wrapped_key, email.master_version))

    def show(
        self, template: str, *, status: int = 200, problems: Sequence[Problem] = (), **values: object
    ) -> web.Response:
        """Answer with a page."""
        text = _TEMPLATES.get_template(template).render(
            token=self.token, problems={each.field: each.message for each in problems}, next=self.next, **values
        )
        headers = self.headers | {"Content-Security-Policy": _policy(self.parts)}
        response = web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)
        return self.remembered(response)

    def tell(self, message: Message, status: int = 200) -> web.Response:
        """Answer with a page that says something, and asks for nothing."""
        return self.show("message.html", status=status, message=message)

    def go(self, path: str) -> web.Response:
        """Answer by leading on to another page."""
        return self.remembered(web.Response(status=303, headers={**self.headers, "Location": path}))

    def remembered(self, response: web.Response) -> web.Response:
        """Give a browser that has none its cookie."""
        if self.is_new:
            self.put_cookie(response, "form", self.browser)
        return response

    def put_cookie(self, response: web.Response, name: str, value: str) -> None:
        """Give the browser a cookie that ends with it."""
        secure = self.parts.cookie.secure
        full = forms.cookie_name(secure=secure, name=name)
        response.set_cookie(full, value, path="/", httponly=True, secure=secure, samesite="Lax")

    def cookie(self, name: str) -> str | None:
        """Read a cookie that was given."""
        return self.request.cookies.get(forms.cookie_name(secure=self.parts.cookie.secure, name=name))

    def drop_cookie(self, response: web.Response, name: str) -> None:
        """Have the browser forget a cookie."""
        response.del_cookie(forms.cookie_name(secure=self.parts.cookie.secure, name=name), path="/")


Handle = Callable[[Visit], Awaitable[web.Response]]


def page(
    parts: Parts, handle: Handle, reopen: str | None = None
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make a request's handler of a page's: it knows the visitor, has read the form, and tells what went wrong.

    Whose form has ended is led on to `reopen`, where that is another address than the form's own.
    """

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return await _answer(await _arrive(parts, request), handle, reopen or request.raw_path)
        except web.HTTPException:
            raise
        except Unavailable:
            return _say(parts, _AWAY, 503, {"Retry-After": "2"})
        except Exception:  # noqa: BLE001 - whatever it was, it is logged, and nobody is told
            _LOG.exception("a request failed")
            return _say(parts, _BROKEN, 500)

    return serve


async def _answer(visit: Visit, handle: Handle, reopen: str) -> web.Response:
    parts, request = visit.parts, visit.request
    try:
        if request.method == "POST":
            known = None if visit.is_new else visit.token
            visit.form = await forms.read_form(request, parts.url, known)
        return await handle(visit)
    except TooOften as refused:
        visit.headers.update(refused.headers)
        return visit.tell(_TOO_OFTEN, 429)
    except Busy:
        visit.headers["Retry-After"] = "2"
        return visit.tell(_BUSY, 503)
    except (TooLong, forms.TooLarge):
        return visit.tell(_TOO_LONG, 400)
    except forms.Forged:
        return visit.tell(dataclasses.replace(_FORGED, onward=reopen), 403)
    except NotSignedIn as error:
        again = "&again=1" if error.lately else ""
        target = request.path if request.method == "GET" else "/account"
        return visit.go(f"/sign-in?{CONTINUE}={quote(target, safe='')}{again}")


def _say(parts: Parts, message: Message, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with a page that says something, knowing nothing of who asks."""
    text = _TEMPLATES.get_template("message.html").render(message=message, problems={})
    policy = {"Content-Security-Policy": _policy(parts)}
    return web.Response(
        text=text, status=status, content_type="text/html", charset="utf-8", headers={**(headers or {}), **policy}
    )


async def _arrive(parts: Parts, request: web.Request) -> Visit:
    known = forms.browser_of(request, forms.cookie_name(secure=parts.cookie.secure, name="form"))
    secret, session = parts.cookie.secret_of(request), None
    if secret is not None:
        async with parts.database.connection() as connection:
            session = await fetch_session(connection, secret, parts.clock())
    return Visit(parts, request, known or forms.new_browser(), known is None, session, secret)


def _policy(parts: Parts) -> str:
    """Say what a page may do: nothing but show our style and script, and send forms here and on to applications.

    Browsers hold what a form's answer leads to against `form-action`, too: signing in ends at an application.
    """
    sources = (_source(uri) for client in parts.clients.values() for uri in client.redirect_uris)
    # A policy has no form for IPv6 addresses, and browsers complain of it.
    targets = {source for source in sources if source.count(":") <= _MOST_COLONS}
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action {' '.join([_SELF, *sorted(targets)])}"
    )


def _source(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else f"{parts.scheme}:"


_MOST_COLONS: Final = 2
_SELF: Final = "'self'"
_TOO_OFTEN: Final = Message(
    "Too many attempts",
    "This was tried too often. Wait a while, and then try again.",
)
_BUSY: Final = Message("A moment, please", "Many people are signing in. Try again in a few seconds.")
_TOO_LONG: Final = Message("Too long", "What was sent is too long. A password has at most 1,024 bytes.")
_FORGED: Final = Message(
    "Please try again",
    "This page was open for too long, or cookies are switched off. Open it again, and fill it in once more.",
    way="Open the page again",
)
_AWAY: Final = Message("A moment, please", "This cannot be done right now. Try again in a few seconds.")
_BROKEN: Final = Message("Something went wrong", "It is not your fault, and is looked into. Try again a little later.")
