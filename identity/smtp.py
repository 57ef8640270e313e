"""Handing mails on to a server by SMTP; in development they stay where the page `/mails` and the terminal show them."""

import asyncio
import contextlib
import logging
import os
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from identity.mails import Mail, Send, Undeliverable

_LOG: Final = logging.getLogger(__name__)
_TIMEOUT_S: Final = 15.0
_TLS_PORT: Final = 465
_SUBMISSION_PORT: Final = 587


def message_of(mail: Mail, sender: str) -> EmailMessage:
    """Write a mail as RFC 5322 has it; the same mail has the same id, however often it is sent."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = mail.letter.to
    message["Subject"] = mail.letter.subject
    message["Date"] = format_datetime(mail.created_at)
    domain = sender.rpartition("@")[2].rstrip(">")
    message["Message-ID"] = f"<{mail.id}@{domain}>" if domain else make_msgid()
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.letter.text)
    return message


def by_smtp(url: str, sender: str) -> Send:
    """Send through `smtps://user:password@host` (TLS from the start), or `smtp://…` with STARTTLS.

    Without TLS nothing is sent, except to this machine itself.
    """
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "smtps"
    is_here = host in ("localhost", "127.0.0.1", "::1")

    async def send(mail: Mail) -> None:
        try:
            await aiosmtplib.send(
                message_of(mail, sender),
                hostname=host,
                port=parts.port or (_TLS_PORT if is_tls else _SUBMISSION_PORT),
                username=unquote(parts.username) if parts.username else None,
                password=unquote(parts.password) if parts.password else None,
                use_tls=is_tls,
                start_tls=None if is_tls or is_here else True,
                tls_context=ssl.create_default_context(),
                timeout=_TIMEOUT_S,
            )
        except (aiosmtplib.SMTPException, ValueError, OSError) as error:
            # What servers answer may hold the address: the kind of failure is all that is told.
            _LOG.warning("a mail could not be sent: %s", type(error).__name__)
            raise Undeliverable from error

    return send


async def to_page(mail: Mail) -> None:
    """Leave a mail to the page `/mails`; a log may hold neither an address nor a link."""
    _LOG.info("a mail is to be read on the page /mails: %s", mail.letter.kind)


def to_console(console: int) -> Send:
    """Show mails on a terminal, by its descriptor, as well as on the page."""

    def show(text: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody looks any more
            os.write(console, text)

    async def send(mail: Mail) -> None:
        letter = mail.letter
        text = f"\n--- mail to {letter.to}: {letter.subject}\n{letter.text}---\n"
        # A terminal that was halted takes nothing for a while.
        await asyncio.to_thread(show, text.encode())

    return send
