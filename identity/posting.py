"""The task that sends mails: by SMTP where an address is set; in development else they stay on the page `/mails`."""

from contextlib import AbstractAsyncContextManager

from identity.mails import Outbox, sending
from identity.parts import Parts
from identity.smtp import by_smtp, to_console, to_page


def post(parts: Parts) -> AbstractAsyncContextManager[None]:
    """Send mails for as long as the context is open."""
    url, sender = parts.settings.smtp_url, parts.settings.mail_from
    if url is not None:
        send = by_smtp(url.get_secret_value(), sender)
    else:
        send = to_page if parts.console is None else to_console(parts.console)
    outbox = Outbox(parts.database, parts.vault, send, parts.credentials.mails, keeps=not parts.settings.is_production)
    return sending([outbox])
