"""Signing in: with a password and, where the account has one, a second factor; or with a passkey alone."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from domain.rate_limits import OperationClass
from identity import half_sign_ins, passkeys, recovery_codes, totp
from identity.accounts import Account, fetch_account, fetch_account_by_email, set_password_hash
from identity.database import Connection
from identity.emails import normalised
from identity.events import write_event
from identity.pages.proofs import challenge_for, check_passkey
from identity.pages.visits import CONTINUE, Problem, Visit
from identity.sessions import begin_session, end_sessions, renew_session

HALF: Final = "half"
BY_PASSWORD: Final = ("pwd",)
BY_CODE: Final = ("pwd", "otp", "mfa")
BY_PASSKEY: Final = ("pop", "user", "mfa")
BOTH: Final = ("pwd", *BY_PASSKEY)
"""How somebody proved who it is, in the words of RFC 8176."""
_WRONG: Final = Problem("password", "The address or the password is wrong.")
_WRONG_CODE: Final = Problem("code", "This code is wrong, or was used before.")
_NO_PASSKEY: Final = Problem("credential", "This passkey is not known here, or the page was open for too long.")


async def show_sign_in(visit: Visit) -> web.Response:
    """Show the form."""
    return visit.show("sign_in.html", again="again" in visit.request.query)


async def sign_in(visit: Visit) -> web.Response:
    """Check a password: with one hash, and the same answer, whether it is wrong or there is no such account."""
    address, password = visit.field("email"), visit.field("password")
    visit.parts.credentials.passwords.expect_room()
    await visit.count(OperationClass.SIGN_IN, normalised(address))
    account = await fetch_claimed(visit, address)
    stored = account.password_hash if account is not None and account.may_sign_in else None
    is_right = await visit.parts.credentials.passwords.verify(stored, password)
    if account is None or not is_right:
        return visit.show("sign_in.html", status=400, problems=[_WRONG], again=False)
    if stored is not None and visit.parts.credentials.passwords.is_dated(stored):
        await _refresh_hash(visit, account, password)
    async with visit.parts.database.transaction() as connection:
        if not await has_second_factor(connection, account.id):
            return await let_in(visit, connection, account.id, BY_PASSWORD)
        secret = await half_sign_ins.begin_half(connection, account.id, visit.now)
    response = visit.go(f"/sign-in/second?{_query(visit)}")
    visit.put_cookie(response, HALF, secret)
    return response


async def fetch_claimed(visit: Visit, address: str) -> Account | None:
    """Read the account that somebody claims to have, if there is one."""
    digest = visit.parts.emails.digest(address)
    async with visit.parts.database.connection() as connection:
        return await fetch_account_by_email(connection, digest)


async def show_second(visit: Visit) -> web.Response:
    """Ask for the second factor."""
    async with visit.parts.database.connection() as connection:
        account = await half_sign_ins.fetch_half(connection, visit.cookie(HALF), visit.now)
    return visit.go(f"/sign-in?{_query(visit)}") if account is None else await _ask_second(visit, account)


async def second(visit: Visit) -> web.Response:
    """Check the second factor. Each try counts, whatever else counts: five, and the password is asked for again."""
    async with visit.parts.database.connection() as connection:
        account = await half_sign_ins.try_half(connection, visit.cookie(HALF), visit.now)
    if account is None:
        return visit.go(f"/sign-in?{_query(visit)}")
    await visit.count(OperationClass.SECOND_FACTOR, str(account))
    methods = await _prove_second(visit, account)
    if methods is None:
        problem = _NO_PASSKEY if visit.field("credential") else _WRONG_CODE
        return await _ask_second(visit, account, [problem])
    async with visit.parts.database.transaction() as connection:
        await half_sign_ins.end_half(connection, visit.cookie(HALF) or "")
        response = await let_in(visit, connection, account, methods)
    visit.drop_cookie(response, HALF)
    return response


async def show_passkey(visit: Visit) -> web.Response:
    """Ask for a passkey, whosever it is."""
    return _ask_passkey(visit)


async def sign_in_by_passkey(visit: Visit) -> web.Response:
    """Sign in whoever's passkey it is. The device has made sure that its owner uses it: that is two factors."""
    await visit.count(OperationClass.SIGN_IN)
    account = await check_passkey(visit, "sign-in", visit.field("credential"))
    if account is None:
        return _ask_passkey(visit, [_NO_PASSKEY])
    async with visit.parts.database.transaction() as connection:
        found = await fetch_account(connection, account)
        if found is None or not found.may_sign_in:
            return _ask_passkey(visit, [_NO_PASSKEY])
        return await let_in(visit, connection, account, BY_PASSKEY)


async def sign_out(visit: Visit) -> web.Response:
    """End this browser's session, and the tokens that came of it."""
    if visit.session is not None:
        async with visit.parts.database.transaction() as connection:
            await end_sessions(connection, visit.session.account_id, now=visit.now, only=visit.session.id)
    response = visit.go("/sign-in")
    visit.parts.cookie.remove(response)
    return response


async def has_second_factor(connection: Connection, account: UUID) -> bool:
    """Tell whether a password is not enough."""
    if await totp.fetch_secret(connection, account, confirmed=True) is not None:
        return True
    return bool(await passkeys.fetch_passkeys(connection, account))


async def let_in(visit: Visit, connection: Connection, account: UUID, methods: Sequence[str]) -> web.Response:
    """Begin a session, or renew the one of the same account; one of another account ends."""
    agent, session = visit.request.headers.get("User-Agent", ""), visit.session
    if session is not None and session.account_id == account:
        _, secret = await renew_session(connection, session, methods=methods, now=visit.now)
    else:
        if session is not None:
            await end_sessions(connection, session.account_id, now=visit.now, only=session.id)
        _, secret = await begin_session(connection, account, methods=methods, agent=agent, now=visit.now)
    response = visit.go(visit.next)
    visit.parts.cookie.put(response, secret)
    return response


async def _prove_second(visit: Visit, account: UUID) -> Sequence[str] | None:
    """Tell how somebody proved the second factor, which is used up with that; None where nothing was proved."""
    if visit.field("credential"):
        found = await check_passkey(visit, f"second {account}", visit.field("credential"))
        return BOTH if found == account else None
    return BY_CODE if await check_code(visit, account, visit.field("code")) else None


async def check_code(visit: Visit, account_id: UUID, code: str) -> bool:
    """Check a code by the clock or a recovery code, and use it up."""
    async with visit.parts.database.transaction() as connection:
        account = await fetch_account(connection, account_id)
        if account is None or not account.may_sign_in:
            return False
        box = await totp.fetch_secret(connection, account_id, confirmed=True)
        if box is not None:
            secret = (await visit.key_of(account)).decrypt("totp_factors", "secret_box", box)
            step = totp.step_of(secret, code, visit.now)
            if step is not None:
                return await totp.use(connection, account_id, step)
        is_used = await recovery_codes.use_code(connection, account_id, code, visit.now)
        if is_used:
            await write_event(connection, "recovery_code.used", account=account_id)
        return is_used


async def _ask_second(visit: Visit, account: UUID, problems: Sequence[Problem] = ()) -> web.Response:
    async with visit.parts.database.connection() as connection:
        keys = await passkeys.fetch_passkeys(connection, account)
        has_codes = await totp.fetch_secret(connection, account, confirmed=True) is not None
    options = challenge_for(visit, f"second {account}", [key.credential_id for key in keys]) if keys else None
    status = 400 if problems else 200
    return visit.show("second.html", status=status, problems=problems, options=options, has_codes=has_codes)


def _ask_passkey(visit: Visit, problems: Sequence[Problem] = ()) -> web.Response:
    options = challenge_for(visit, "sign-in", ())
    return visit.show("passkey.html", status=400 if problems else 200, problems=problems, options=options)


async def _refresh_hash(visit: Visit, account: Account, password: str) -> None:
    """Hash a password anew that was hashed with other effort, now that it is known."""
    fresh = await visit.parts.credentials.passwords.hash(password)
    async with visit.parts.database.transaction() as connection:
        await set_password_hash(connection, account.id, fresh, expected=account.password_hash)


def _query(visit: Visit) -> str:
    return urlencode({CONTINUE: visit.next})
