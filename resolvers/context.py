"""What every resolver gets: who asks, when, and what it may work with."""

import dataclasses
import datetime as dt
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from domain.errors import Forbidden, Unauthenticated
from domain.follow_limits import DEFAULT_LIMITS, FollowLimits
from domain.ids import NodeType, OpaqueIds
from domain.links import SignedLinks
from domain.pages import Cursors
from domain.rate_limits import OperationClass
from domain.repeats import RepeatKeys
from domain.revocations import Credentials
from domain.scopes import Scope
from loaders import NO_FLOORS, Caches, Floors, Loaders
from resolvers.consistency import PAIR, POSITION, PROFILE, ConsistencyTokens
from resolvers.quotas import Charge, Payer, Quotas, Unlimited
from storage.channels import Listeners
from storage.database import Database
from storage.outbox import Bell
from storage.vault import Vault

NOBODY = 0
"""An id that no one has: loaded in the place of ids that cannot be, so that both take the same way and time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Backend:
    """What lives as long as the process."""

    caches: Caches
    cursors: Cursors
    consistency: ConsistencyTokens
    listeners: Listeners
    bell: Bell
    vault: Vault
    limits: FollowLimits = DEFAULT_LIMITS
    token_life: float = 15 * 60
    """How many seconds a token may live: so long a revocation is kept."""
    links: SignedLinks = dataclasses.field(default_factory=SignedLinks.of_nobody)
    quotas: Quotas = dataclasses.field(default_factory=Unlimited)
    repeats: RepeatKeys = dataclasses.field(default_factory=RepeatKeys.of_nobody)

    @property
    def database(self) -> Database:
        """Give the cells."""
        return self.caches.database


class Context(msgspec.Struct, frozen=True):
    """What lives as long as one operation, or one delivered event of a subscription."""

    backend: Backend
    viewer_id: int | None
    now: dt.datetime
    loaders: Loaders
    session: str | None = None
    """In which session the viewer acts, for the audit log."""
    credentials: Credentials | None = None
    """What the token that was sent says of itself; None where nobody has sent any."""
    degraded: set[str] = msgspec.field(default_factory=set)
    """Which optional fields are null because they could not be had, as `Type.field`; the answer says so."""
    authenticated_at: float | None = None
    """When the viewer last signed in, in seconds since 1970; None where the token does not say."""
    charge: Charge = msgspec.field(default_factory=lambda: Charge(Payer()))
    opts_out: bool = False
    """Whether the request itself says, by `Sec-GPC: 1`, that the viewer's data may be neither sold nor shared."""

    @property
    def database(self) -> Database:
        """Give the cells."""
        return self.backend.database

    @property
    def ids(self) -> OpaqueIds:
        """Give the codec of the ids that clients hold."""
        return self.backend.database.ids

    def require(self, scope: Scope) -> None:
        """Go on only where the token that was sent, if any, is for this; raises Forbidden."""
        scopes = self.credentials.scopes if self.credentials is not None else None
        if scopes is not None and scope not in scopes:
            raise Forbidden(neededScope=scope.value)

    def count(self, operation: OperationClass) -> Coroutine[Any, Any, None]:
        """Count an operation that has limits of its own; what is given raises RateLimited where it is one too many."""
        return self.backend.quotas.count(self.charge.payer, operation)

    async def issue_token(self, versions: Mapping[str, int], changed: Collection[int]) -> str:
        """Seal what a mutation produced, and how far the cells of the people whom it changed have come."""
        positions = await self.database.replicas.fetch_positions(self.database.shards, changed)
        places = {f"{POSITION}{number}": position for number, position in (positions or {}).items()}
        return self.backend.consistency.issue({**versions, **places})

    def user_ids(self, opaque_ids: Sequence[str]) -> list[int]:
        """Read user ids that a client sent; what is none becomes NOBODY."""
        return [self.ids.decode(NodeType.USER, opaque_id) or NOBODY for opaque_id in opaque_ids]


def new_context(
    backend: Backend,
    viewer_id: int | None,
    *,
    consistency_token: str | None = None,
    credentials: Credentials | None = None,
    address: str = "",
    opts_out: bool = False,
) -> Context:
    """Make the context of one operation: nothing is shared with any other.

    With a token nothing is shown that is older than what the mutation did that gave it.

    Raises:
        InvalidInput: the token is none of ours.
    """
    now = dt.datetime.now(dt.UTC)
    floors = _floors(backend, consistency_token) if consistency_token is not None else NO_FLOORS
    loaders = Loaders(backend.caches, viewer_id, now, floors, vault=backend.vault)
    charge = Charge(Payer(viewer_id, address))
    if credentials is None:
        return Context(backend, viewer_id, now, loaders, charge=charge, opts_out=opts_out)
    return Context(
        backend,
        viewer_id,
        now,
        loaders,
        credentials.session,
        credentials,
        authenticated_at=credentials.authenticated_at,
        charge=charge,
        opts_out=opts_out,
    )


def context_of_event(backend: Backend, viewer_id: int | None) -> Context:
    """Make the context in which one event is delivered: it shows no less than the event tells."""
    now = dt.datetime.now(dt.UTC)
    loaders = Loaders(backend.caches, viewer_id, now, Floors({}, {}), vault=backend.vault)
    return Context(backend, viewer_id, now, loaders)


def _floors(backend: Backend, token: str) -> Floors:
    """Read the floors out of a token. One without positions says nothing of where replicas must be: none is used."""
    versions = backend.consistency.read(token)
    positions = {int(name): version for name, version in _named(versions, POSITION)}
    users, pairs = (_of_people(backend, _named(versions, prefix)) for prefix in (PROFILE, PAIR))
    return Floors(users, pairs, positions or None)


def _named(versions: Mapping[str, int], prefix: str) -> list[tuple[str, int]]:
    return [(name.removeprefix(prefix), version) for name, version in versions.items() if name.startswith(prefix)]


def _of_people(backend: Backend, versions: Sequence[tuple[str, int]]) -> dict[int, int]:
    found = ((backend.database.ids.decode(NodeType.USER, name), version) for name, version in versions)
    return {user_id: version for user_id, version in found if user_id is not None}


async def require_viewer(context: Context) -> int:
    """Give the viewer's id.

    Raises:
        Unauthenticated: nobody is signed in, or the account is gone.
    """
    from resolvers.visibility import meet_one  # noqa: PLC0415 - visibility needs Context

    viewer = await meet_one(context, context.viewer_id) if context.viewer_id is not None else None
    if viewer is None:
        raise Unauthenticated
    return viewer.user.id
