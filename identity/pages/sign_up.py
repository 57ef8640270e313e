"""Signing up: an address, a name and a password; then the mail; then the account is made while its page waits."""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from domain.rate_limits import OperationClass
from domain.sign_ups import Refusal
from domain.usernames import is_claimable, username_key
from identity.emails import normalised
from identity.pages.forms import clean_email
from identity.pages.visits import Message, Problem, Visit
from identity.sign_ups import (
    NewSignUp,
    SignUp,
    SignUpState,
    begin_sign_up,
    choose_name,
    confirm_email,
    fetch_sign_up,
)
from storage.signed_client import NotReached, NotUnderstood

_NO_ADDRESS: Final = Problem("email", "This is not an e-mail address.")
_NO_NAME: Final = Problem("username", "Use 2 to 30 letters and digits, with single dots or underscores inside.")
_TAKEN: Final = Problem("username", "This name is not available.")
SENT: Final = "/mail-sent"
"""A page of its own, for signing up and for a forgotten password: whoever loads it again sends nothing again."""
_SENT: Final = Message(
    "Look into your mails",
    "If you can receive mails at this address, one says in a moment how to go on. "
    "It may be among those that are taken for junk.",
)
_ENDED: Final = Message(
    "This link has ended", "It was used before, is too old, or its address has an account. Sign in, or sign up again."
)
_DONE: Final = Message("Welcome", "Your account is there. Sign in with your address and password.")
_ASKED_FOR_S: Final = 2.0
_REFUSALS: Final = {Refusal.USERNAME_INVALID: _NO_NAME, Refusal.USERNAME_UNAVAILABLE: _TAKEN}


async def show_sign_up(visit: Visit) -> web.Response:
    """Show the form."""
    return _form(visit)


async def sign_up(visit: Visit) -> web.Response:
    """Begin a sign-up. Whether the address has an account shows in nothing: only its mailbox is told."""
    visit.parts.credentials.passwords.expect_room()
    await visit.count(OperationClass.SIGN_UP, normalised(visit.field("email")))
    address, username = clean_email(visit.field("email")), visit.field("username").strip()
    problems = [*([_NO_ADDRESS] if address is None else []), *_problems_of_name(username)]
    problem = visit.parts.credentials.blocklist.problem_of(visit.field("password"), [address or "", username])
    if problem is not None:
        problems.append(Problem("password", problem.value))
    taken = await _fetch_taken(visit, username) if not problems else None
    if taken is not None:
        problems.append(taken)
    if address is None or problems:
        return _form(visit, problems)
    stored = await visit.parts.credentials.passwords.hash(visit.field("password"))
    async with visit.parts.database.transaction() as connection:
        new = NewSignUp(address, username, stored)
        await begin_sign_up(connection, visit.parts.emails, new, visit.parts.url, visit.now)
    visit.parts.credentials.mails.set()
    return visit.go(SENT)


async def show_sent(visit: Visit) -> web.Response:
    """Tell that a mail is on its way, whatever it says."""
    return visit.tell(_SENT)


async def show_confirmation(visit: Visit) -> web.Response:
    """Show how far a sign-up is: a button that confirms the address, and then what becomes of it."""
    async with visit.parts.database.transaction() as connection:
        found = await fetch_sign_up(connection, visit.request.query.get("token", ""), visit.now)
    return _standing(visit, found)


async def confirm(visit: Visit) -> web.Response:
    """Confirm the address, or take another name where the one before was not to be had."""
    link = visit.request.query.get("token", "")
    username = visit.field("username").strip()
    problems = _problems_of_name(username) if username else []
    async with visit.parts.database.transaction() as connection:
        if username and not problems:
            await choose_name(connection, visit.parts.emails, link, username, visit.now)
        if username:
            found = await fetch_sign_up(connection, link, visit.now)
        else:
            found = await confirm_email(connection, link, visit.now)
    if found is None or problems:
        return _standing(visit, found, problems)
    return visit.go(f"/sign-up/confirm?token={link}")


async def _fetch_taken(visit: Visit, username: str) -> Problem | None:
    """Tell what the user service has against a name; without an answer it says so when it is to make the person."""
    users = visit.parts.credentials.users
    if users is None:
        return None
    try:
        async with asyncio.timeout(_ASKED_FOR_S):
            found = await users.fetch_name_standing(username)
    except (NotReached, NotUnderstood, TimeoutError):
        return None
    if found.is_available:
        return None
    others = f" These are: {', '.join(found.suggestions)}." if found.suggestions else ""
    return Problem("username", _TAKEN.message + others)


def _form(visit: Visit, problems: Sequence[Problem] = ()) -> web.Response:
    return visit.show(
        "sign_up.html",
        status=400 if problems else 200,
        problems=problems,
        email=visit.field("email"),
        username=visit.field("username"),
    )


def _standing(visit: Visit, found: SignUp | None, problems: Sequence[Problem] = ()) -> web.Response:
    if found is None:
        return visit.tell(_ENDED, 404)
    if found.state is SignUpState.DONE:
        return visit.tell(_DONE)
    if found.state is SignUpState.WAITING:
        return visit.show("verify.html")
    if found.state is SignUpState.ASKED:
        return visit.show("being_made.html")
    refusal = _REFUSALS[found.refusal] if found.refusal is not None else _TAKEN
    return visit.show("another_name.html", status=400, problems=problems or [refusal])


def _problems_of_name(username: str) -> list[Problem]:
    """Tell what is wrong with a name without asking who has it."""
    key = username_key(username)
    if key is None:
        return [_NO_NAME]
    return [] if is_claimable(key) else [_TAKEN]
