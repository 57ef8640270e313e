"""What our mails say: plain text, one link at most, and never anything of an account."""

import dataclasses
import enum
from typing import Final

_SIGNATURE: Final = "\n\nKith\n"


class LetterKind(enum.StrEnum):
    """What a mail is about."""

    SIGN_UP = "SIGN_UP"
    SIGN_UP_KNOWN = "SIGN_UP_KNOWN"
    RECOVERY = "RECOVERY"
    RECOVERY_UNKNOWN = "RECOVERY_UNKNOWN"
    EMAIL_CHANGE = "EMAIL_CHANGE"
    EMAIL_CHANGE_KNOWN = "EMAIL_CHANGE_KNOWN"
    NOTICE = "NOTICE"


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """A mail to somebody."""

    kind: LetterKind
    to: str = dataclasses.field(repr=False)
    subject: str
    text: str = dataclasses.field(repr=False)


def confirm_sign_up(to: str, link: str) -> Letter:
    """Ask whether an address belongs to whoever signs up with it."""
    text = f"Welcome to Kith. Open this within a day to make your account:\n\n{link}\n\n{_NOT_YOU}"
    return _letter(LetterKind.SIGN_UP, to, "Confirm your address", text)


def sign_up_known(to: str, url: str) -> Letter:
    """Tell an owner that somebody has signed up with the address of an account."""
    text = (
        f"Somebody, perhaps you, asked for a new account with this address. You have one already: sign in at\n\n"
        f"{url}/sign-in\n\nor, if you have forgotten the password, choose another one at\n\n{url}/recovery\n\n"
        f"{_NOT_YOU}"
    )
    return _letter(LetterKind.SIGN_UP_KNOWN, to, "Confirm your address", text)


def recover(to: str, link: str) -> Letter:
    """Let an owner choose another password."""
    text = f"Open this within half an hour to choose a new password:\n\n{link}\n\n{_NOT_YOU}"
    return _letter(LetterKind.RECOVERY, to, "Your password", text)


def recovery_unknown(to: str, url: str) -> Letter:
    """Tell whoever has an address without an account that it has none."""
    text = (
        f"Somebody, perhaps you, asked for a new password, but there is no account with this address. If you have\n"
        f"one, it has another address. If not, you may make one at\n\n{url}/sign-up\n\n{_NOT_YOU}"
    )
    return _letter(LetterKind.RECOVERY_UNKNOWN, to, "Your password", text)


def confirm_email(to: str, link: str) -> Letter:
    """Ask whether an address belongs to whoever wants to sign in with it from now on."""
    text = f"Open this within an hour to sign in with this address from now on:\n\n{link}\n\n{_NOT_YOU}"
    return _letter(LetterKind.EMAIL_CHANGE, to, "Confirm your new address", text)


def email_known(to: str) -> Letter:
    """Tell an owner that somebody wants to use the address of this account for another one."""
    text = "Somebody wants to use this address for another account. It stays with yours; nothing has changed."
    return _letter(LetterKind.EMAIL_CHANGE_KNOWN, to, "Confirm your new address", text)


def notice(to: str, what: str, url: str) -> Letter:
    """Tell an owner what was done to the account, in case that it was somebody else."""
    text = f"{what}\n\nIf that was not you, choose a new password at once, and sign out everywhere:\n\n{url}/recovery"
    return _letter(LetterKind.NOTICE, to, "Your account was changed", text)


_NOT_YOU: Final = "If it was not you, there is nothing to do: without this mail nothing happens."


def _letter(kind: LetterKind, to: str, subject: str, text: str) -> Letter:
    return Letter(kind, to, f"Kith: {subject}", text + _SIGNATURE)
