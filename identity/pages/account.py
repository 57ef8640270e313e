"""The account's page: what it has, where it is signed in, and changing its password."""

import datetime as dt
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from aiohttp import web

from domain.rate_limits import OperationClass
from identity import letters, passkeys, recovery_codes, totp
from identity.accounts import Account, set_password_hash
from identity.events import write_event
from identity.mail_links import end_links
from identity.mails import queue_mail
from identity.pages.visits import Message, Problem, Visit
from identity.sessions import end_sessions, fetch_sessions

_SIGNED_OUT: Final = Message("You are signed out", "In all browsers, and in all applications.")
_DONE: Final = {
    "password": "Your password is changed. Other browsers are signed out.",
    "email": "Look into the mails of the new address: a link in one of them makes it yours.",
}
_WRONG: Final = Problem("current", "This is not your password.")


async def show_account(visit: Visit) -> web.Response:
    """Show the page, with what was done by the form that led here."""
    return await show_with(visit, done=_DONE.get(visit.request.query.get("done", ""), ""))


async def show_with(visit: Visit, problems: Sequence[Problem] = (), done: str = "") -> web.Response:
    """Show the page, with what went wrong or was done."""
    session, account = await visit.require_account()
    async with visit.parts.database.connection() as connection:
        keys = await passkeys.fetch_passkeys(connection, account.id)
        values = {
            "has_totp": await totp.fetch_secret(connection, account.id, confirmed=True) is not None,
            "codes_left": await recovery_codes.count_left(connection, account.id),
            "sessions": await fetch_sessions(connection, account.id, visit.now),
        }
    return visit.show(
        "account.html",
        status=400 if problems else 200,
        problems=problems,
        done=done,
        email=await visit.parts.emails.open("accounts", account.id, account.email),
        passkeys=[(passkeys.name_of(key.credential_id), key) for key in keys],
        current=session.id,
        **values,
    )


async def change_password(visit: Visit) -> web.Response:
    """Change the password of whoever knows it; all other sessions end."""
    session, account = await visit.require_account()
    parts = visit.parts
    address = await parts.emails.open("accounts", account.id, account.email)
    await visit.count(OperationClass.SIGN_IN, str(account.id))
    if not await parts.credentials.passwords.verify(account.password_hash, visit.field("current")):
        return await show_with(visit, [_WRONG])
    problem = parts.credentials.blocklist.problem_of(visit.field("password"), [address])
    if problem is not None:
        return await show_with(visit, [Problem("password", problem.value)])
    fresh = await parts.credentials.passwords.hash(visit.field("password"))
    async with parts.database.transaction() as connection:
        if not await set_password_hash(connection, account.id, fresh, expected=account.password_hash):
            return await show_with(visit, [_WRONG])
        await end_links(connection, account.id)
        await end_sessions(connection, account.id, now=visit.now, but=session.id)
        await write_event(connection, "password.changed", account=account.id, session=session.id)
        await queue_mail(connection, parts.emails, letters.notice(address, "Your password was changed.", parts.url))
    parts.credentials.mails.set()
    return visit.go("/account?done=password")


async def end_session(visit: Visit) -> web.Response:
    """Sign one browser out, wherever it is."""
    session, account = await visit.require_account()
    try:
        ended = UUID(visit.field("session"))
    except ValueError:
        return await show_with(visit)
    async with visit.parts.database.transaction() as connection:
        await end_sessions(connection, account.id, now=visit.now, only=ended)
    return visit.go("/account" if ended != session.id else "/sign-in")


async def sign_out_everywhere(visit: Visit) -> web.Response:
    """Sign every browser out, this one too, and end all tokens."""
    _, account = await visit.require_account()
    async with visit.parts.database.transaction() as connection:
        await end_sessions(connection, account.id, now=visit.now)
        await write_event(connection, "sessions.ended", account=account.id)
    response = visit.tell(_SIGNED_OUT)
    visit.parts.cookie.remove(response)
    return response


async def tell_owner(visit: Visit, account: Account, what: str) -> None:
    """Send an owner a mail that says what was done."""
    address = await visit.parts.emails.open("accounts", account.id, account.email)
    async with visit.parts.database.transaction() as connection:
        await queue_mail(connection, visit.parts.emails, letters.notice(address, what, visit.parts.url))
    visit.parts.credentials.mails.set()


def day_of(moment: dt.datetime) -> str:
    """Write a time for people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
