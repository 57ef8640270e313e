"""Another address: it counts once a link in a mail to it was opened. That takes a recent sign-in."""

from typing import Final

from aiohttp import web
from asyncpg import UniqueViolationError

from domain.rate_limits import OperationClass
from identity import letters
from identity.accounts import fetch_account_by_email, set_email
from identity.events import write_event
from identity.mail_links import LinkPurpose, MailLink, end_links, make_link, use_link
from identity.mails import queue_mail
from identity.pages.account import show_with
from identity.pages.forms import clean_email
from identity.pages.visits import Message, Problem, Visit

_PURPOSE: Final = LinkPurpose.EMAIL
_TABLE: Final = "mail_links"
_COLUMN: Final = "email_box"
_NO_ADDRESS: Final = Problem("email", "This is not an e-mail address.")
_ENDED: Final = Message(
    "This link has ended",
    "It was used before, is too old, or was asked for by another account than the one that is signed in.",
)


async def ask_email(visit: Visit) -> web.Response:
    """Send a mail to the new address; whoever has an account with it is told, and the answer is the same."""
    _, account = await visit.require_account(lately=True)
    address = clean_email(visit.field("email"))
    if address is None:
        return await show_with(visit, [_NO_ADDRESS])
    await visit.count(OperationClass.RECOVERY, str(account.id))
    digest = visit.parts.emails.digest(address)
    box = (await visit.key_of(account)).encrypt(_TABLE, _COLUMN, address)
    async with visit.parts.database.transaction() as connection:
        is_known = await fetch_account_by_email(connection, digest) is not None
        token = await make_link(connection, _PURPOSE, MailLink(account.id, digest, box), visit.now)
        letter = letters.confirm_email(address, f"{visit.parts.url}/account/email/{token}")
        await queue_mail(connection, visit.parts.emails, letters.email_known(address) if is_known else letter)
    visit.parts.credentials.mails.set()
    return visit.go("/account?done=email")


async def show_confirm_email(visit: Visit) -> web.Response:
    """Ask whether the address is to change: a program that reads mails opens links, too, but sends no forms."""
    await visit.require_account()
    return visit.show("confirm_email.html")


async def confirm_email(visit: Visit) -> web.Response:
    """Change the address."""
    session, account = await visit.require_account()
    parts, key = visit.parts, await visit.key_of(account)
    former = await parts.emails.open("accounts", account.id, account.email)
    try:
        async with parts.database.transaction() as connection:
            link = await use_link(connection, _PURPOSE, visit.request.match_info["token"], visit.now)
            if link is None or link.account != account.id or link.email_digest is None or link.email_box is None:
                return visit.tell(_ENDED, 404)
            box = key.encrypt("accounts", _COLUMN, key.decrypt(_TABLE, _COLUMN, link.email_box))
            await set_email(connection, account.id, link.email_digest, box, visit.now)
            await end_links(connection, account.id)
            await write_event(connection, "email.changed", account=account.id, session=session.id)
            notice = letters.notice(former, "Another address signs in to your account from now on.", parts.url)
            await queue_mail(connection, parts.emails, notice)
    except UniqueViolationError:
        return visit.tell(_ENDED, 404)
    parts.credentials.mails.set()
    return visit.go("/account")
