"""Follower and following pages: what the viewer may see of them, refilled within bounds."""

import dataclasses
import datetime as dt
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from domain.pages import Cursors, PageInfo, PageRequest, Position, page_info_of, round_count
from domain.relationships import FollowOrder, ListKind
from domain.users import Counts
from loaders.lazy import Lazy
from privacy.policy import Visible
from resolvers.context import Context
from resolvers.people import fetch_counts_if_possible
from resolvers.visibility import meet, meet_own_blocks
from storage.lists import ListEntry, Span, is_downward

MAX_ROUNDS: Final = 4
"""How often a page that privacy has shortened is refilled; each round reads as many rows as the page has."""

_USER_ID: Final[Callable[[ListEntry], int]] = operator.attrgetter("user_id")
_SINCE: Final[Callable[[ListEntry], dt.datetime]] = operator.attrgetter("since")
_OWN: Final = frozenset({ListKind.REQUESTS, ListKind.ASKED, ListKind.BLOCKED, ListKind.MUTED})


class Places:
    """Where the entries of a page stand, and where its reading stopped; cursors are made when one is asked for."""

    def __init__(self, codec: Cursors, scope: str, entries: Sequence[ListEntry], far: Position | None) -> None:
        self._codec = codec
        self._scope = scope
        self._entries = entries
        self._far = far

    @Lazy
    def cursors(self) -> list[str]:
        """Give the cursor of each entry, and then that of where reading stopped."""
        positions = [entry.position for entry in self._entries]
        return self._codec.encode(self._scope, [*positions, self._far or Position(0, 0)])


class FollowerEdge(msgspec.Struct, frozen=True):
    """One person of a list, and since when."""

    node: Visible
    followed_at: dt.datetime
    places: Places
    index: int

    @property
    def cursor(self) -> str:
        """Give the cursor of this place of the list."""
        return self.places.cursors[self.index]


@dataclasses.dataclass(frozen=True, slots=True)
class FollowerPage:
    """A page, and the person whose list it is of."""

    edges: Sequence[FollowerEdge]
    owner: Visible
    kind: ListKind
    request: PageRequest
    places: Places
    more: bool

    @property
    def page_info(self) -> PageInfo:
        """Tell where the page stands in its list."""
        *cursors, far = self.places.cursors
        return page_info_of(cursors, self.request, far=far if self.more else None)

    @property
    def nodes(self) -> list[Visible]:
        """Give the people without their edges."""
        return [edge.node for edge in self.edges]


@dataclasses.dataclass(slots=True)
class _Reading:
    """How far the reading of one owner's list has come; `scope` is what its cursors are bound to."""

    owner: Visible
    scope: str
    beyond: Position | None
    entries: list[ListEntry] = dataclasses.field(default_factory=list)
    people: list[Visible] = dataclasses.field(default_factory=list)
    """Those of the entries, one each."""
    ended: bool = False


async def fetch_pages(
    context: Context, kind: ListKind, owners: Sequence[Visible], request: PageRequest, order: FollowOrder
) -> list[FollowerPage]:
    """Give the same page of many owners' lists: one statement, one load of people and one of relationships a round.

    A page reads at most MAX_ROUNDS times its size, however many are hidden, and then says that there is more.

    Raises:
        InvalidInput: the cursor is not of this list, viewer and order.
    """
    readings = {owner.user.id: _begin(context, kind, owner, request, order) for owner in owners}
    without = () if kind is ListKind.BLOCKED else await context.loaders.fetch_blocked_ids()
    # In the owner's own lists those who are gone stay; all that a page may read is read at once, so that a page from
    # which somebody is missing costs what any other does.
    rounds, wanted = (1, MAX_ROUNDS * (request.size + 1)) if kind in _OWN else (MAX_ROUNDS, request.size + 1)
    span = Span(None, is_downward(order, backward=request.backward), wanted, without)
    for _ in range(rounds):
        if not await _read_on(context, kind, readings, span):
            break
    return [_present(context, kind, readings[owner.user.id], request) for owner in owners]


def _begin(context: Context, kind: ListKind, owner: Visible, request: PageRequest, order: FollowOrder) -> _Reading:
    scope = f"{context.viewer_id} {kind.value} {owner.user.id} {order.value}"
    cursor = request.cursor
    return _Reading(owner, scope, context.backend.cursors.decode(scope, cursor) if cursor is not None else None)


async def _read_on(context: Context, kind: ListKind, readings: dict[int, _Reading], span: Span) -> bool:
    """Read another round for whoever lacks rows; False when nobody does."""
    lacking = {owner: reading for owner, reading in readings.items() if not _is_full(reading, span.limit)}
    among = await _known_to_viewer(context) if kind is ListKind.MUTUAL else None
    for beyond in {reading.beyond for reading in lacking.values()}:
        owners = [owner for owner, reading in lacking.items() if reading.beyond == beyond]
        its_span = span if beyond is None else dataclasses.replace(span, beyond=beyond)
        rows = await context.loaders.fetch_list(kind, owners, its_span, among)
        met = await _meet_all(context, kind, rows)
        for owner in owners:
            _keep_visible(lacking[owner], rows[owner], met, span.limit)
    return bool(lacking)


async def _known_to_viewer(context: Context) -> Sequence[int]:
    return await context.loaders.fetch_followed_ids()


def _is_full(reading: _Reading, wanted: int) -> bool:
    return reading.ended or len(reading.entries) >= wanted


async def _meet_all(
    context: Context, kind: ListKind, rows: Mapping[int, Sequence[ListEntry]]
) -> dict[int, Visible | None]:
    """Decide about everybody in some lists at once; whom the viewer blocks is met as a stub, in that list only."""
    ids = list(set(map(_USER_ID, itertools.chain.from_iterable(rows.values()))))
    people = await (meet_own_blocks if kind is ListKind.BLOCKED else meet)(context, ids)
    if kind is ListKind.MUTED:  # a mute that has ended may not have been cleared yet
        people = [person if person is not None and person.viewer_has_muted else None for person in people]
    return dict(zip(ids, people, strict=True))


def _keep_visible(
    reading: _Reading, entries: Sequence[ListEntry], met: Mapping[int, Visible | None], limit: int
) -> None:
    people = list(map(met.__getitem__, map(_USER_ID, entries)))
    reading.entries += itertools.compress(entries, people)
    reading.people += filter(None, people)
    reading.ended = len(entries) < limit
    reading.beyond = entries[-1].position if entries else reading.beyond


def _present(context: Context, kind: ListKind, reading: _Reading, request: PageRequest) -> FollowerPage:
    entries, people = reading.entries[: request.size], reading.people[: request.size]
    overfull = len(reading.entries) > request.size
    # A page that could not be filled ends where reading stopped, which may lie beyond its last edge.
    far = entries[-1].position if overfull else reading.beyond
    more = overfull or not reading.ended
    if request.backward:
        entries.reverse()
        people.reverse()
    places = Places(context.backend.cursors, reading.scope, entries, far)
    edges = list(map(FollowerEdge, people, map(_SINCE, entries), itertools.repeat(places), itertools.count()))
    return FollowerPage(edges, reading.owner, kind, request, places, more)


async def fetch_total_counts(context: Context, pages: Sequence[FollowerPage]) -> list[int | None]:
    """Count what the viewer could page through: exact up to 1,000, above that rounded down to two digits.

    The lists that only their owner sees, and what two people have in common, have no such figure: null.
    """
    owners = [page.owner for page in pages]
    counts = await fetch_counts_if_possible(context, owners, "FollowerConnection.totalCount")
    return [_total(page.kind, figures) for page, figures in zip(pages, counts, strict=True)]


def _total(kind: ListKind, figures: Counts | None) -> int | None:
    if figures is None or kind not in (ListKind.FOLLOWERS, ListKind.FOLLOWING):
        return None
    exact = figures.followers if kind is ListKind.FOLLOWERS else figures.following
    return round_count(exact)
