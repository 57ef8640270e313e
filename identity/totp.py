"""One-time codes by the clock (RFC 6238): six digits every thirty seconds, each of which opens the door once."""

import datetime as dt
import io
from typing import Final
from uuid import UUID

import pyotp
import segno
from pyotp.exceptions import OTPVerificationError

from identity.database import Connection

ISSUER: Final = "Kith"
DIGITS: Final = 6
WINDOW: Final = 1
"""By how many steps a clock may be off, to either side."""
_GROUP: Final = 4


def new_secret() -> str:
    """Make the secret that the owner's program and we share: 160 bits, in base32."""
    return pyotp.random_base32()


def address_of(secret: str, owner: str) -> str:
    """Give the `otpauth://` address by which a program takes the secret over."""
    return pyotp.TOTP(secret, digits=DIGITS).provisioning_uri(name=owner, issuer_name=ISSUER)


def picture_of(address: str) -> str:
    """Draw an address as a QR code: SVG to stand in a page, without styles or scripts of its own."""
    out = io.BytesIO()
    segno.make(address, error="m", micro=False).save(
        out, kind="svg", scale=5, border=2, xmldecl=False, svgns=False, svgclass="qr", light="#fff", nl=False
    )
    return out.getvalue().decode()


def spelled(secret: str) -> str:
    """Give a secret in groups, for whoever types it."""
    return " ".join(secret[start : start + _GROUP] for start in range(0, len(secret), _GROUP))


def step_of(secret: str, code: str, now: dt.datetime, *, after: int = 0) -> int | None:
    """Give the step that a code belongs to, one from next to now and later than `after`; None for any other code."""
    digits = "".join(code.split())
    if len(digits) != DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    try:
        step = pyotp.TOTP(secret, digits=DIGITS).verify_and_get_timecode(digits, for_time=now, valid_window=WINDOW)
    except OTPVerificationError:
        return None
    return step if step > after else None


_OFFER: Final = """
    INSERT INTO totp_factors (account_id, secret_box) VALUES ($1, $2)
    ON CONFLICT (account_id) DO UPDATE SET secret_box = EXCLUDED.secret_box
    WHERE totp_factors.confirmed_at IS NULL
"""
_FETCH: Final = "SELECT secret_box, confirmed_at IS NOT NULL AS is_confirmed FROM totp_factors WHERE account_id = $1"
_CONFIRM: Final = """
    UPDATE totp_factors SET confirmed_at = $3, last_step = $2 WHERE account_id = $1 AND confirmed_at IS NULL
"""
_USE: Final = "UPDATE totp_factors SET last_step = $2 WHERE account_id = $1 AND last_step < $2"
_REMOVE: Final = "DELETE FROM totp_factors WHERE account_id = $1"
_ONE: Final = "1"


async def offer(connection: Connection, account: UUID, secret_box: bytes) -> None:
    """Keep a secret until its owner has shown a code of it; one that was confirmed stays as it is."""
    await connection.execute(_OFFER, account, secret_box)


async def fetch_secret(connection: Connection, account: UUID, *, confirmed: bool) -> bytes | None:
    """Read the encrypted secret of an account: the one that is in use, or the one that is only offered."""
    row = await connection.fetchrow(_FETCH, account)
    return row["secret_box"] if row is not None and row["is_confirmed"] is confirmed else None


async def confirm(connection: Connection, account: UUID, step: int, now: dt.datetime) -> bool:
    """Take a secret into use; the code that confirmed it is used up. False where there is none to confirm."""
    return (await connection.execute(_CONFIRM, account, step, now)).endswith(_ONE)


async def use(connection: Connection, account: UUID, step: int) -> bool:
    """Use a step up; False where it, or a later one, was used before, however many ask at once."""
    return (await connection.execute(_USE, account, step)).endswith(_ONE)


async def remove(connection: Connection, account: UUID) -> bool:
    """Forget the secret of an account; False where there is none."""
    return (await connection.execute(_REMOVE, account)).endswith(_ONE)
