"""Second factors on the account's page: codes by the clock, recovery codes, passkeys. It takes a recent sign-in."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web
from markupsafe import Markup
from webauthn.helpers import base64url_to_bytes

from domain.rate_limits import OperationClass
from identity import passkeys, recovery_codes, totp
from identity.accounts import Account
from identity.events import write_event
from identity.pages.account import show_with, tell_owner
from identity.pages.proofs import accept_challenge, challenges_of, party_of
from identity.pages.visits import Problem, Visit
from identity.passkeys import PasskeyRefused

_TABLE: Final = "totp_factors"
_COLUMN: Final = "secret_box"
_WRONG: Final = Problem("code", "This is not the code of this moment. Is the clock of your device right?")
_REFUSED: Final = Problem("credential", "This passkey could not be added. Load the page again, and try once more.")


async def show_totp(visit: Visit) -> web.Response:
    """Offer a secret, as a picture and in letters."""
    _, account = await visit.require_account(lately=True)
    return await _offer(visit, account)


async def confirm_totp(visit: Visit) -> web.Response:
    """Take the offered secret into use once a code of it was shown, and give recovery codes."""
    session, account = await visit.require_account(lately=True)
    await visit.count(OperationClass.SECOND_FACTOR, str(account.id))
    async with visit.parts.database.transaction() as connection:
        box = await totp.fetch_secret(connection, account.id, confirmed=False)
        if box is None:
            return visit.go("/account")
        secret = (await visit.key_of(account)).decrypt(_TABLE, _COLUMN, box)
        step = totp.step_of(secret, visit.field("code"), visit.now)
        if step is None:
            return await _offer(visit, account, [_WRONG])
        if not await totp.confirm(connection, account.id, step, visit.now):
            return visit.go("/account")
        codes = recovery_codes.new_codes()
        await recovery_codes.replace_codes(connection, account.id, codes)
        await write_event(connection, "totp.enabled", account=account.id, session=session.id)
    await tell_owner(visit, account, "Signing in takes a code by the clock from now on.")
    return visit.show("codes.html", codes=codes)


async def remove_totp(visit: Visit) -> web.Response:
    """Forget the secret, and with it the recovery codes where no passkey is left that needs them."""
    session, account = await visit.require_account(lately=True)
    async with visit.parts.database.transaction() as connection:
        if await totp.remove(connection, account.id):
            await write_event(connection, "totp.disabled", account=account.id, session=session.id)
        if not await passkeys.fetch_passkeys(connection, account.id):
            await recovery_codes.remove_codes(connection, account.id)
    await tell_owner(visit, account, "Signing in takes no code by the clock any more.")
    return visit.go("/account")


async def renew_codes(visit: Visit) -> web.Response:
    """Give new recovery codes; the old ones are good for nothing."""
    session, account = await visit.require_account(lately=True)
    codes = recovery_codes.new_codes()
    async with visit.parts.database.transaction() as connection:
        await recovery_codes.replace_codes(connection, account.id, codes)
        await write_event(connection, "recovery_codes.renewed", account=account.id, session=session.id)
    await tell_owner(visit, account, "New recovery codes were made. The old ones are good for nothing.")
    return visit.show("codes.html", codes=codes)


async def show_new_passkey(visit: Visit) -> web.Response:
    """Offer to make a passkey."""
    _, account = await visit.require_account(lately=True)
    return await _offer_passkey(visit, account)


async def add_passkey(visit: Visit) -> web.Response:
    """Keep a passkey that the browser has made."""
    session, account = await visit.require_account(lately=True)
    try:
        made, challenge = party_of(visit).registered(account.id, visit.field("credential"))
        async with visit.parts.database.transaction() as connection:
            await accept_challenge(visit, connection, f"add {account.id}", challenge)
            if not await passkeys.add_passkey(connection, made):
                raise PasskeyRefused  # noqa: TRY301 - so that the transaction ends as nothing
            left = await recovery_codes.count_left(connection, account.id)
            codes = recovery_codes.new_codes() if left == 0 else None
            if codes is not None:
                await recovery_codes.replace_codes(connection, account.id, codes)
            await write_event(connection, "passkey.added", account=account.id, session=session.id)
    except PasskeyRefused:
        return await _offer_passkey(visit, account, [_REFUSED])
    await tell_owner(visit, account, "A passkey was added.")
    return visit.show("codes.html", codes=codes) if codes is not None else visit.go("/account")


async def remove_passkey(visit: Visit) -> web.Response:
    """Forget a passkey."""
    session, account = await visit.require_account(lately=True)
    try:
        credential_id = base64url_to_bytes(visit.field("passkey"))
    except ValueError:
        return await show_with(visit)
    async with visit.parts.database.transaction() as connection:
        if not await passkeys.remove_passkey(connection, account.id, credential_id):
            return visit.go("/account")
        await write_event(connection, "passkey.removed", account=account.id, session=session.id)
    await tell_owner(visit, account, "A passkey was removed.")
    return visit.go("/account")


async def _offer(visit: Visit, account: Account, problems: Sequence[Problem] = ()) -> web.Response:
    key = await visit.key_of(account)
    async with visit.parts.database.transaction() as connection:
        if await totp.fetch_secret(connection, account.id, confirmed=True) is not None:
            return visit.go("/account")
        box = await totp.fetch_secret(connection, account.id, confirmed=False)
        if box is None:
            box = key.encrypt(_TABLE, _COLUMN, totp.new_secret())
            await totp.offer(connection, account.id, box)
    secret = key.decrypt(_TABLE, _COLUMN, box)
    address = await visit.parts.emails.open("accounts", account.id, account.email)
    picture = Markup(totp.picture_of(totp.address_of(secret, address)))  # noqa: S704 - drawn by us, of squares alone
    status = 400 if problems else 200
    return visit.show("totp.html", status=status, problems=problems, picture=picture, secret=totp.spelled(secret))


async def _offer_passkey(visit: Visit, account: Account, problems: Sequence[Problem] = ()) -> web.Response:
    async with visit.parts.database.connection() as connection:
        existing = [key.credential_id for key in await passkeys.fetch_passkeys(connection, account.id)]
    address = await visit.parts.emails.open("accounts", account.id, account.email)
    challenge = challenges_of(visit).make(f"add {account.id}", visit.browser, visit.now)
    options = party_of(visit).creation(account.id, address, challenge, existing)
    return visit.show("new_passkey.html", status=400 if problems else 200, problems=problems, options=options)
