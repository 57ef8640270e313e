"""Passkeys (WebAuthn): a key pair of the owner's device, which signs a challenge of ours for our pages alone.

A challenge is good for five minutes, for one browser and one purpose, and once: it says so itself, under a key of ours,
so that showing a page writes nothing.
"""

import dataclasses
import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import webauthn
from webauthn.helpers import bytes_to_base64url, parse_authentication_credential_json, parse_client_data_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from identity.database import Connection

RP_NAME: Final = "Kith"
CHALLENGE_S: Final = 300
MOST_KEYS: Final = 10
_NONCE_BYTES: Final = 16
_TIME_BYTES: Final = 8
_REQUIRED: Final = UserVerificationRequirement.REQUIRED


class PasskeyRefused(Exception):
    """What the browser sent proves nothing: it was made for another page, challenge or key, or used before."""


@dataclasses.dataclass(frozen=True, slots=True)
class Passkey:
    """The public half of a key pair, and how often the device says that it was used."""

    credential_id: bytes
    account: UUID
    public_key: bytes
    sign_count: int
    created_at: dt.datetime | None = None
    used_at: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Challenges:
    """Makes challenges, and knows its own."""

    key: bytes = dataclasses.field(repr=False)

    def make(self, purpose: str, browser: str, now: dt.datetime) -> bytes:
        """Make a challenge for a purpose in a browser."""
        ends = int(now.timestamp()) + CHALLENGE_S
        head = secrets.token_bytes(_NONCE_BYTES) + ends.to_bytes(_TIME_BYTES)
        return head + self._seal(head, purpose, browser)

    def is_good(self, challenge: bytes, purpose: str, browser: str, now: dt.datetime) -> bool:
        """Tell whether a challenge was made for this, and has not ended; whether it was used is for `use_challenge`."""
        head, seal = challenge[: _NONCE_BYTES + _TIME_BYTES], challenge[_NONCE_BYTES + _TIME_BYTES :]
        ends = int.from_bytes(head[_NONCE_BYTES:])
        return hmac.compare_digest(seal, self._seal(head, purpose, browser)) and now.timestamp() < ends

    def _seal(self, head: bytes, purpose: str, browser: str) -> bytes:
        return hmac.digest(self.key, b"\0".join((head, purpose.encode(), browser.encode())), hashlib.sha256)


@dataclasses.dataclass(frozen=True, slots=True)
class RelyingParty:
    """Whose passkeys they are: the service at its address, as browsers see it."""

    origin: str

    @property
    def id(self) -> str:
        """Give the name of the host, which passkeys are bound to."""
        return urlsplit(self.origin).hostname or ""

    def creation(self, account: UUID, owner: str, challenge: bytes, existing: Sequence[bytes]) -> str:
        """Say in JSON what a browser needs to make a passkey for an account; `existing` devices make no second one."""
        options = webauthn.generate_registration_options(
            rp_id=self.id,
            rp_name=RP_NAME,
            user_id=account.bytes,
            user_name=owner,
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=_REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(each) for each in existing],
        )
        return webauthn.options_to_json(options)

    def request(self, challenge: bytes, allowed: Sequence[bytes] = ()) -> str:
        """Say in JSON what a browser needs to use a passkey; with none allowed, it offers all it has for us."""
        options = webauthn.generate_authentication_options(
            rp_id=self.id,
            challenge=challenge,
            allow_credentials=[PublicKeyCredentialDescriptor(each) for each in allowed],
            user_verification=_REQUIRED,
        )
        return webauthn.options_to_json(options)

    def registered(self, account: UUID, answer: str) -> tuple[Passkey, bytes]:
        """Read a new passkey, and the challenge that it answers.

        Raises:
            PasskeyRefused: it is none, or was made for another page.
        """
        try:
            challenge = _challenge_in(answer, registration=True)
            made = webauthn.verify_registration_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                require_user_verification=True,
            )
        except _BAD as error:
            raise PasskeyRefused from error
        return Passkey(made.credential_id, account, made.credential_public_key, made.sign_count), challenge

    def used(self, passkey: Passkey, answer: str) -> tuple[int, bytes]:
        """Verify that a passkey signed; gives how often it was used, and the challenge that it answers.

        Raises:
            PasskeyRefused: it did not, or its count went back, as that of a copy would.
        """
        try:
            challenge = _challenge_in(answer, registration=False)
            made = webauthn.verify_authentication_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except _BAD as error:
            raise PasskeyRefused from error
        return made.new_sign_count, challenge


_BAD: Final = (WebAuthnException, ValueError, KeyError, TypeError, AttributeError)


def credential_in(answer: str) -> bytes:
    """Read which passkey an answer claims to be of; raises PasskeyRefused."""
    try:
        return parse_authentication_credential_json(answer).raw_id
    except _BAD as error:
        raise PasskeyRefused from error


def _challenge_in(answer: str, *, registration: bool) -> bytes:
    read = webauthn.helpers.parse_registration_credential_json if registration else parse_authentication_credential_json
    return parse_client_data_json(read(answer).response.client_data_json).challenge


def name_of(credential_id: bytes) -> str:
    """Give the text by which a form names a passkey."""
    return bytes_to_base64url(credential_id)


_COLUMNS: Final = "credential_id, account_id, public_key, sign_count, created_at, used_at"
_INSERT: Final = """
    INSERT INTO passkeys (credential_id, account_id, public_key, sign_count)
    SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM passkeys WHERE account_id = $2) < $5
    ON CONFLICT DO NOTHING
"""
_OF_ACCOUNT: Final = f"SELECT {_COLUMNS} FROM passkeys WHERE account_id = $1 ORDER BY created_at"  # noqa: S608
_BY_ID: Final = f"SELECT {_COLUMNS} FROM passkeys WHERE credential_id = $1"  # noqa: S608
_USED: Final = """
    UPDATE passkeys SET sign_count = $2, used_at = $3 WHERE credential_id = $1 AND (sign_count < $2 OR $2 = 0)
"""
_REMOVE: Final = "DELETE FROM passkeys WHERE account_id = $1 AND credential_id = $2"
_FORGET: Final = "DELETE FROM used_challenges WHERE ends_at < $1"
_USE_UP: Final = "INSERT INTO used_challenges (digest, ends_at) VALUES ($1, $2) ON CONFLICT DO NOTHING"


async def use_challenge(connection: Connection, challenge: bytes, now: dt.datetime) -> bool:
    """Use a challenge up; False where it was used before, however many try at once."""
    await connection.execute(_FORGET, now)
    ends = now + dt.timedelta(seconds=CHALLENGE_S)
    return (await connection.execute(_USE_UP, hashlib.sha256(challenge).digest(), ends)).endswith("1")


async def add_passkey(connection: Connection, passkey: Passkey) -> bool:
    """Keep a passkey; False where it is known, or the account has ten."""
    values = (passkey.credential_id, passkey.account, passkey.public_key, passkey.sign_count)
    return (await connection.execute(_INSERT, *values, MOST_KEYS)).endswith("1")


async def fetch_passkeys(connection: Connection, account: UUID) -> list[Passkey]:
    """Read the passkeys of an account, oldest first."""
    return [Passkey(*row.values()) for row in await connection.fetch(_OF_ACCOUNT, account)]


async def fetch_passkey(connection: Connection, credential_id: bytes) -> Passkey | None:
    """Read a passkey by the name that browsers know."""
    row = await connection.fetchrow(_BY_ID, credential_id)
    return Passkey(*row.values()) if row is not None else None


async def note_use(connection: Connection, passkey: Passkey, sign_count: int, now: dt.datetime) -> bool:
    """Write down how often a passkey was used; False where another use has counted as far meanwhile."""
    return (await connection.execute(_USED, passkey.credential_id, sign_count, now)).endswith("1")


async def remove_passkey(connection: Connection, account: UUID, credential_id: bytes) -> bool:
    """Forget a passkey of an account; False where it has none such."""
    return (await connection.execute(_REMOVE, account, credential_id)).endswith("1")
