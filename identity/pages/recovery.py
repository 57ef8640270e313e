"""A forgotten password: a mail with a link, which is good once, and a new password. The second factor stays."""

from typing import Final

from aiohttp import web

from domain.rate_limits import OperationClass
from identity import letters
from identity.accounts import Account, fetch_account, set_password_hash
from identity.emails import normalised
from identity.events import write_event
from identity.mail_links import LinkPurpose, MailLink, end_links, fetch_link, make_link, use_link
from identity.mails import queue_mail
from identity.pages.forms import clean_email
from identity.pages.sign_in import fetch_claimed
from identity.pages.sign_up import SENT
from identity.pages.visits import Message, Problem, Visit
from identity.sessions import end_sessions

_PURPOSE: Final = LinkPurpose.RECOVERY
_NO_ADDRESS: Final = Problem("email", "This is not an e-mail address.")
_ENDED: Final = Message("This link has ended", "It was used before, or is too old. Ask for another one.")
_CHANGED: Final = Message(
    "Your password is changed",
    "You are signed out everywhere. Sign in with the new password.",
)


async def show_recovery(visit: Visit) -> web.Response:
    """Ask for the address."""
    return visit.show("recovery.html")


async def ask_recovery(visit: Visit) -> web.Response:
    """Send a mail: with a link, or one that there is no account. The answer and the work are the same."""
    address = clean_email(visit.field("email"))
    if address is None:
        return visit.show("recovery.html", status=400, problems=[_NO_ADDRESS])
    await visit.count(OperationClass.RECOVERY, normalised(address))
    account = await fetch_claimed(visit, address)
    link = MailLink(account.id) if account is not None and account.may_sign_in else None
    async with visit.parts.database.transaction() as connection:
        token = await make_link(connection, _PURPOSE, link, visit.now)
        url = f"{visit.parts.url}/recovery/{token}"
        unknown = letters.recovery_unknown(address, visit.parts.url)
        await queue_mail(connection, visit.parts.emails, letters.recover(address, url) if link is not None else unknown)
    visit.parts.credentials.mails.set()
    return visit.go(SENT)


async def show_new_password(visit: Visit) -> web.Response:
    """Ask for the new password."""
    async with visit.parts.database.connection() as connection:
        link = await fetch_link(connection, _PURPOSE, visit.request.match_info["token"], visit.now)
    return visit.show("new_password.html") if link is not None else visit.tell(_ENDED, 404)


async def set_new_password(visit: Visit) -> web.Response:
    """Change the password, use the link up, and end every session."""
    parts, token = visit.parts, visit.request.match_info["token"]
    await visit.count(OperationClass.RECOVERY)
    async with parts.database.connection() as connection:
        link = await fetch_link(connection, _PURPOSE, token, visit.now)
        account = await fetch_account(connection, link.account) if link is not None else None
    if account is None or not account.may_sign_in:
        return visit.tell(_ENDED, 404)
    address = await parts.emails.open("accounts", account.id, account.email)
    problem = parts.credentials.blocklist.problem_of(visit.field("password"), [address])
    if problem is not None:
        return visit.show("new_password.html", status=400, problems=[Problem("password", problem.value)])
    fresh = await parts.credentials.passwords.hash(visit.field("password"))
    if not await _change(visit, account, token, fresh, address):
        return visit.tell(_ENDED, 404)
    parts.credentials.mails.set()
    response = visit.tell(_CHANGED)
    parts.cookie.remove(response)
    return response


async def _change(visit: Visit, account: Account, token: str, fresh: str, address: str) -> bool:
    async with visit.parts.database.transaction() as connection:
        if await use_link(connection, _PURPOSE, token, visit.now) is None:
            return False
        await set_password_hash(connection, account.id, fresh)
        await end_links(connection, account.id)
        await end_sessions(connection, account.id, now=visit.now)
        await write_event(connection, "password.recovered", account=account.id)
        notice = letters.notice(address, "Your password was changed by a link in a mail.", visit.parts.url)
        await queue_mail(connection, visit.parts.emails, notice)
    return True
