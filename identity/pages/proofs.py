"""Passkeys on pages: the challenge that a page carries, and what a browser answers."""

import contextlib
from collections.abc import Sequence
from uuid import UUID

from identity.database import Connection
from identity.pages.visits import Visit
from identity.passkeys import (
    Challenges,
    PasskeyRefused,
    RelyingParty,
    credential_in,
    fetch_passkey,
    note_use,
    use_challenge,
)


def party_of(visit: Visit) -> RelyingParty:
    """Give whose passkeys they are."""
    return RelyingParty(visit.parts.url)


def challenges_of(visit: Visit) -> Challenges:
    """Give what makes challenges and knows them."""
    return Challenges(visit.parts.keys.pages)


def challenge_for(visit: Visit, purpose: str, allowed: Sequence[bytes]) -> str:
    """Give what a page carries that asks for a passkey."""
    return party_of(visit).request(challenges_of(visit).make(purpose, visit.browser, visit.now), allowed)


async def accept_challenge(visit: Visit, connection: Connection, purpose: str, challenge: bytes) -> None:
    """Use up the challenge that was answered; raises PasskeyRefused where it is not one of this page."""
    if not challenges_of(visit).is_good(challenge, purpose, visit.browser, visit.now):
        raise PasskeyRefused
    if not await use_challenge(connection, challenge, visit.now):
        raise PasskeyRefused


async def check_passkey(visit: Visit, purpose: str, answer: str) -> UUID | None:
    """Give whose passkey has signed the challenge of a page, which is used up by that; None where none has."""
    with contextlib.suppress(PasskeyRefused):
        async with visit.parts.database.transaction() as connection:
            passkey = await fetch_passkey(connection, credential_in(answer))
            if passkey is None:
                raise PasskeyRefused
            count, challenge = party_of(visit).used(passkey, answer)
            await accept_challenge(visit, connection, purpose, challenge)
            if not await note_use(connection, passkey, count, visit.now):
                raise PasskeyRefused
            return passkey.account
    return None
