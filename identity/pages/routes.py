"""Where the pages are."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from aiohttp import web

from identity.mails import fetch_latest
from identity.pages import account, email_change, factors, recovery, sign_in, sign_up
from identity.pages.visits import Handle, Visit, page
from identity.parts import Parts

_STATIC: Final = Path(__file__).with_name("static")
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SHOWN: Final = 50

SHOWN: Final[dict[str, Handle]] = {
    "/sign-up": sign_up.show_sign_up,
    "/sign-up/confirm": sign_up.show_confirmation,
    sign_up.SENT: sign_up.show_sent,
    "/sign-in": sign_in.show_sign_in,
    "/sign-in/second": sign_in.show_second,
    "/sign-in/passkey": sign_in.show_passkey,
    "/recovery": recovery.show_recovery,
    "/recovery/{token}": recovery.show_new_password,
    "/account": account.show_account,
    "/account/email/{token}": email_change.show_confirm_email,
    "/account/totp": factors.show_totp,
    "/account/passkeys": factors.show_new_passkey,
}
SENT: Final[dict[str, Handle]] = {
    "/sign-up": sign_up.sign_up,
    "/sign-up/confirm": sign_up.confirm,
    "/sign-in": sign_in.sign_in,
    "/sign-in/second": sign_in.second,
    "/sign-in/passkey": sign_in.sign_in_by_passkey,
    "/sign-out": sign_in.sign_out,
    "/recovery": recovery.ask_recovery,
    "/recovery/{token}": recovery.set_new_password,
    "/account/password": account.change_password,
    "/account/email": email_change.ask_email,
    "/account/email/{token}": email_change.confirm_email,
    "/account/totp": factors.confirm_totp,
    "/account/totp/remove": factors.remove_totp,
    "/account/recovery-codes": factors.renew_codes,
    "/account/passkeys": factors.add_passkey,
    "/account/passkeys/remove": factors.remove_passkey,
    "/account/sessions": account.end_session,
    "/account/sign-out-everywhere": account.sign_out_everywhere,
}


def routes(parts: Parts) -> Iterable[web.AbstractRouteDef]:
    """Serve the pages and what they show; in development, the mails as well."""
    found = [web.get(path, page(parts, handle)) for path, handle in SHOWN.items()]
    found += [
        web.post(path, page(parts, handle, None if path in SHOWN else "/account")) for path, handle in SENT.items()
    ]
    if not parts.settings.is_production:
        found.append(web.get("/mails", page(parts, _show_mails)))
    return [web.get("/", page(parts, _begin)), *found, *(_file(path) for path in sorted(_STATIC.iterdir()))]


async def _begin(visit: Visit) -> web.Response:
    """Lead whoever knows nothing but the service's name to the account, or to signing in."""
    return visit.go("/account")


async def _show_mails(visit: Visit) -> web.Response:
    async with visit.parts.database.connection() as connection:
        mails = await fetch_latest(connection, visit.parts.vault, _SHOWN)
    return visit.show("mails.html", mails=mails)


def _file(path: Path) -> web.RouteDef:
    content, kind = path.read_bytes(), _TYPES[path.suffix]

    async def serve(_request: web.Request) -> web.Response:
        headers = {"Cache-Control": "public, max-age=300", "Content-Type": f"{kind}; charset=utf-8"}
        return web.Response(body=content, headers=headers)

    return web.get(f"/static/{path.name}", serve)
