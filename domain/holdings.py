"""What the auth service holds about a person: how the user service asks for it, the answers, and what the export shows.

Nothing in it lets anybody in: no secret, no hash, no key, no digest of a token.
"""

import uuid
from typing import Annotated, Final

from msgspec import Meta

from domain.events import PersonId
from domain.sign_ups import Command, Email, Moment

PAGE: Final = 200
MAX_BYTES: Final = 1 << 20
"""How long an answer is at most."""

ACCOUNT: Final = "/internal/holdings/account"
SIGN_INS: Final = "/internal/holdings/sign-ins"
APPLICATIONS: Final = "/internal/holdings/applications"
ACTIONS: Final = "/internal/holdings/actions"


class AskHoldings(Command, frozen=True, kw_only=True):
    """Ask for what is held about somebody: a page of it, behind the place where the one before has ended."""

    user_id: PersonId
    after: Annotated[str, Meta(max_length=36)] | None = None


class PasskeyHeld(Command, frozen=True, kw_only=True):
    """A passkey, by the name under which the device knows it."""

    id: str
    made_at: Moment
    used_at: Moment | None


class MailHeld(Command, frozen=True, kw_only=True):
    """A mail of the last days; what it said is destroyed once it is sent."""

    kind: str
    written_at: Moment
    sent_at: Moment | None


class Account(Command, frozen=True, kw_only=True):
    """The account; `new_email` is an address that waits to be confirmed."""

    email: Email
    email_verified_at: Moment | None
    new_email: Email | None
    made_at: Moment
    is_blocked: bool
    has_password: bool
    codes_by_clock_since: Moment | None
    recovery_codes_left: int
    passkeys: list[PasskeyHeld]
    mails: list[MailHeld]


class SignIn(Command, frozen=True, kw_only=True):
    """A browser that signed in: what it calls itself, how that was proved (RFC 8176), and when."""

    browser: str
    methods: list[str]
    began_at: Moment
    proved_at: Moment
    seen_at: Moment
    ended_at: Moment | None


class Application(Command, frozen=True, kw_only=True):
    """An application that was signed in to."""

    application: str
    scope: str
    began_at: Moment
    ended_at: Moment | None


class AccountAction(Command, frozen=True, kw_only=True):
    """Something that was done to the account."""

    at: Moment
    action: str


class AccountHeld(Command, frozen=True, kw_only=True):
    """The answer about the account itself; without one nobody has an account there."""

    account: Account | None


class SignInsHeld(Command, frozen=True, kw_only=True):
    """A page of sign-ins; `last` is where the next one begins, and none behind the end."""

    entries: list[SignIn]
    last: uuid.UUID | None


class ApplicationsHeld(Command, frozen=True, kw_only=True):
    """A page of applications."""

    entries: list[Application]
    last: uuid.UUID | None


class ActionsHeld(Command, frozen=True, kw_only=True):
    """A page of actions."""

    entries: list[AccountAction]
    last: int | None
