"""What the viewer agrees to: the ledger, the opt-out of sharing, and what the browser says of it by itself."""

import collections
import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Final

from domain.consents import (
    Consent,
    ConsentPurpose,
    DataSharing,
    Decision,
    data_sharing_of,
    is_version,
)
from domain.errors import KithError, Unauthenticated, UserError
from domain.pages import Page, PageRequest, Position, page_info_of
from domain.rate_limits import OperationClass
from privacy.policy import Visible
from resolvers.context import Context, require_viewer
from resolvers.settings import invalid
from storage.consents import add_consent, add_signal, fetch_consents, fetch_newest

_LOG: Final = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class ConsentEdge:
    """A decision and its place."""

    cursor: str
    node: Consent


@dataclasses.dataclass(frozen=True, slots=True)
class ConsentPage(Page[ConsentEdge]):
    """A page of the ledger."""

    @property
    def nodes(self) -> list[Consent]:
        """Give the decisions."""
        return [edge.node for edge in self.edges]


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """The decision in force afterwards, or why nothing was recorded."""

    consent: Consent | None = None
    sharing: DataSharing | None = None
    user_errors: tuple[UserError, ...] = ()
    consistency_token: str | None = None


async def record(context: Context, purpose: ConsentPurpose, version: str, *, granted: bool) -> Recorded:
    """Record that the viewer agrees to a version of a text, or takes that back; a repeat changes nothing."""
    if purpose is ConsentPurpose.DATA_SHARING:
        return Recorded(user_errors=(invalid("Sharing is decided by `setDataSharing`.", "purpose"),))
    if not is_version(version):
        message = "A version is 1 to 32 of A-Z a-z 0-9 . _ -, such as 2026-11-01."
        return Recorded(user_errors=(invalid(message, "version"),))
    return await _record(context, Decision(purpose, granted, version))


async def set_data_sharing(context: Context, *, opted_out: bool) -> Recorded:
    """Opt the viewer out of having data sold or shared, or in again; a repeat changes nothing."""
    recorded = await _record(context, Decision(ConsentPurpose.DATA_SHARING, not opted_out))
    sharing = data_sharing_of(recorded.consent, signalled=context.opts_out)
    return dataclasses.replace(recorded, sharing=sharing)


async def _record(context: Context, decision: Decision) -> Recorded:
    owner_id = await require_viewer(context)
    await context.count(OperationClass.CONSENT)
    consent = await add_consent(context.database, owner_id, decision, context.now)
    if consent is None:
        raise Unauthenticated
    context.backend.bell.ring(context.database.shards.home(owner_id))
    return Recorded(consent, consistency_token=await context.issue_token({}, (owner_id,)))


async def fetch_sharing(context: Context, owner: Visible) -> DataSharing:
    """Give whether the viewer's data may be sold or shared; a request with the signal says no, whatever is stored."""
    newest = await fetch_newest(context.database, owner.user.id, ConsentPurpose.DATA_SHARING)
    return data_sharing_of(newest, signalled=context.opts_out)


async def fetch_ledger(context: Context, owner: Visible, request: PageRequest) -> ConsentPage:
    """Give a page of what the viewer has decided, the newest first.

    Raises:
        InvalidInput: the cursor is not of this list and viewer.
    """
    scope = f"{owner.user.id} consents"
    cursors = context.backend.cursors
    beyond = cursors.decode(scope, request.cursor) if request.cursor is not None else None
    rows = await fetch_consents(
        context.database, owner.user.id, beyond, downward=not request.backward, limit=request.size + 1
    )
    kept = rows[: request.size]
    shown = kept[::-1] if request.backward else kept
    places = cursors.encode(scope, [Position(row.number, 0) for row in shown])
    edges = [ConsentEdge(cursor, row) for cursor, row in zip(places, shown, strict=True)]
    far = cursors.encode(scope, [Position(kept[-1].number, 0)])[0] if len(rows) > request.size else None
    return ConsentPage(edges, page_info_of(places, request, far=far))


class Signals:
    """Remembers for a while whose signal is stored: it costs a statement an hour, and not one a request."""

    KEPT_S: Final = 3600.0
    MOST: Final = 50_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: collections.OrderedDict[int, float] = collections.OrderedDict()

    def knows(self, user_id: int) -> bool:
        """Tell whether it is known that a person's signal is stored."""
        return self._until.get(user_id, 0.0) > self._clock()

    def learn(self, user_id: int) -> None:
        """Remember that a person's signal is stored."""
        self._until[user_id] = self._clock() + self.KEPT_S
        self._until.move_to_end(user_id)
        if len(self._until) > self.MOST:
            self._until.popitem(last=False)


async def heed_signal(context: Context, signals: Signals) -> None:
    """Store the opt-out that the request's `Sec-GPC: 1` stands for, once a person.

    What keeps it from being stored keeps nobody from being answered: it holds for the request anyway, and the next one
    has it stored.
    """
    viewer_id = context.viewer_id
    if not context.opts_out or viewer_id is None or signals.knows(viewer_id):
        return
    try:
        if await add_signal(context.database, viewer_id, context.now):
            context.backend.bell.ring(context.database.shards.home(viewer_id))
    except KithError as error:
        _LOG.warning("a signal to opt out is not stored yet: %s", type(error).__name__)
    else:
        signals.learn(viewer_id)
