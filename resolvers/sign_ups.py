"""What the auth service may ask for: a person for each sign-up, a confirmed e-mail address, the end of sessions."""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final

from domain.errors import InvalidInput
from domain.events import EventType
from domain.ids import NodeType
from domain.personal import PersonalDetails, is_email
from domain.revocations import Revocation, RevocationKind
from domain.sign_ups import CreateUser, Made, NameStanding, People, Refusal, Revoke, SetEmail, SignedUp, Standing
from domain.username_requirements import Account, requirements_for
from domain.usernames import is_claimable, username_key, written_username
from domain.users import User, UserState
from resolvers.context import NOBODY, Backend, new_context
from resolvers.usernames import fetch_availability
from storage.cells import Connection
from storage.personal import change_details
from storage.revocations import revoke
from storage.sign_ups import SignUp, SignUpReused, fetch_made, fetch_page, sign_up, take_back
from storage.users import change_user, fetch_states

__all__ = [
    "SignUpReused",
    "create_user",
    "end_sessions",
    "fetch_people",
    "fetch_standings",
    "set_email",
    "take_user_back",
]

PAGE: Final = 100
_FIRST: Final = uuid.UUID(int=0)
_NO_EMAIL: Final = "`email` is no address."
_THERE: Final = frozenset({UserState.ACTIVE, UserState.SUSPENDED, UserState.DELETED})
_STANDINGS: Final = {
    UserState.ACTIVE: Standing.PRESENT,
    UserState.SUSPENDED: Standing.PRESENT,
    UserState.DELETED: Standing.DELETED,
    UserState.PURGED: Standing.PURGED,
}


async def create_user(backend: Backend, sign_up_id: uuid.UUID, command: CreateUser) -> SignedUp:
    """Make the person of a sign-up, once; the same sign-up always has the same answer.

    Raises:
        InvalidInput: the address is none.
        SignUpReused: the sign-up was asked for with another name.
    """
    if not is_email(command.email):
        raise InvalidInput(_NO_EMAIL)
    now, key = dt.datetime.now(dt.UTC), username_key(command.username)
    if key is None:
        return SignedUp(refusal=Refusal.USERNAME_INVALID)
    if not is_claimable(key) or requirements_for(key, Account(), now):
        return SignedUp(refusal=Refusal.USERNAME_UNAVAILABLE)
    wanted = SignUp(sign_up_id, written_username(command.username), command.email, command.email_version)
    user_id = await sign_up(backend.database, backend.vault, wanted, now=now)
    if user_id is None:
        return SignedUp(refusal=Refusal.USERNAME_UNAVAILABLE)
    backend.bell.ring(backend.database.shards.home(user_id))
    return SignedUp(user_id=backend.database.ids.encode(NodeType.USER, user_id))


async def take_user_back(backend: Backend, sign_up_id: uuid.UUID) -> bool:
    """Have the person of a sign-up purged, to whom no account can ever belong; False where nobody was made."""
    user_id = await fetch_made(backend.database, sign_up_id)
    if user_id is None:
        return False
    await take_back(backend.database, user_id, dt.datetime.now(dt.UTC))
    backend.bell.ring(backend.database.shards.home(user_id))
    return True


async def set_email(backend: Backend, opaque_id: str, command: SetEmail) -> bool:
    """Take over the address of a person, unless a later one is there; False where nobody is there any more.

    Raises:
        InvalidInput: the address is none.
    """
    if command.email is not None and not is_email(command.email):
        raise InvalidInput(_NO_EMAIL)
    user_id = backend.database.ids.decode(NodeType.USER, opaque_id)
    if user_id is None:
        return False

    def changed(before: PersonalDetails) -> PersonalDetails:
        if before.email_version >= command.version:
            return before
        return dataclasses.replace(before, email=command.email, email_version=command.version)

    async def beside(connection: Connection) -> tuple[PersonalDetails, PersonalDetails] | None:
        return await change_details(connection, backend.vault, user_id, changed)

    user = await change_user(
        backend.database, user_id, _as_it_is, event=EventType.USER_UPDATED, beside=beside, among=_THERE
    )
    if user is not None:
        backend.bell.ring(backend.database.shards.home(user_id))
    return user is not None


async def end_sessions(backend: Backend, command: Revoke) -> bool:
    """Refuse the tokens of a session, or all that were issued before a time; False for an id that is nobody's."""
    user_id = backend.database.ids.decode(NodeType.USER, command.user_id)
    if user_id is None:
        return False
    kind = RevocationKind.EARLIER if command.session_id is None else RevocationKind.SESSION
    at = command.revoked_at.timestamp()
    revocation = Revocation(user_id, kind, command.session_id or "", at, at + backend.token_life)
    await revoke(backend.database, revocation)
    backend.bell.ring(backend.database.shards.home(user_id))
    return True


async def fetch_name_standing(backend: Backend, username: str) -> NameStanding:
    """Say whether a newcomer could have a name; who asks has counted how often that is asked."""
    found = await fetch_availability(new_context(backend, None), username)
    return NameStanding(is_available=found.is_available, suggestions=list(found.suggestions))


async def fetch_standings(backend: Backend, opaque_ids: Sequence[str]) -> list[Standing]:
    """Say what has become of people, in the order asked for."""
    ids = [backend.database.ids.decode(NodeType.USER, opaque_id) or NOBODY for opaque_id in opaque_ids]
    states = await fetch_states(backend.database, ids)
    return [_STANDINGS[states[user_id]] if user_id in states else Standing.UNKNOWN for user_id in ids]


async def fetch_people(backend: Backend, after: uuid.UUID | None) -> People:
    """Fetch a page of the people who were made for sign-ups and are neither deleted nor purged."""
    made = await fetch_page(backend.database, after or _FIRST, PAGE)
    states = await fetch_states(backend.database, list(made.values()))
    encode = backend.database.ids.encode
    there = [
        Made(sign_up_id=sign_up_id, user_id=encode(NodeType.USER, user_id))
        for sign_up_id, user_id in made.items()
        if user_id in states and _STANDINGS[states[user_id]] is Standing.PRESENT
    ]
    return People(people=there, last=list(made)[-1] if len(made) == PAGE else None)


def _as_it_is(user: User) -> User:
    return user
