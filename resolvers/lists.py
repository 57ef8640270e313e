"""Follower and following pages: what the viewer may see of them, refilled within bounds."""

import collections
import dataclasses
import datetime as dt
import itertools
from collections.abc import Sequence
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
from storage.list_entries import PLACE_BYTES, since_of, split_places, user_ids_in
from storage.lists import Span, is_downward

MAX_ROUNDS: Final = 4
"""How often a page that privacy has shortened is refilled; each round reads as many rows as the page has."""

_OWN: Final = frozenset({ListKind.REQUESTS, ListKind.ASKED, ListKind.BLOCKED, ListKind.MUTED})


class Places:
    """The rows of a page, and the one at which its reading stopped, if any; cursors are made when one is asked for."""

    def __init__(self, codec: Cursors, scope: str, places: bytes, far: bytes) -> None:
        self._codec = codec
        self._scope = scope
        self._places = places
        self._far = far

    @Lazy
    def cursors(self) -> list[str]:
        """Give the cursor of each row, and of where reading stopped."""
        return self._codec.encode_packed(self._scope, self._places + self._far)

    @property
    def ends(self) -> tuple[list[str], str | None]:
        """Give the cursors of the first and the last row, and of where reading stopped; others are not made here."""
        places = self._places
        if "cursors" in vars(self):
            cursors = self.cursors
        else:
            places = places[:PLACE_BYTES] + places[-PLACE_BYTES:]
            cursors = self._codec.encode_packed(self._scope, places + self._far)
        return cursors[: len(places) // PLACE_BYTES], cursors[-1] if self._far else None

    def since(self, index: int) -> dt.datetime:
        """Tell since when somebody is in the list."""
        return since_of(self._places[index * PLACE_BYTES : (index + 1) * PLACE_BYTES])


class FollowerEdge(msgspec.Struct, frozen=True, gc=False):
    """One person of a list, and since when."""

    node: Visible
    places: Places
    index: int

    @property
    def followed_at(self) -> dt.datetime:
        """Tell since when the person is in the list."""
        return self.places.since(self.index)

    @property
    def cursor(self) -> str:
        """Give the cursor of this place of the list."""
        return self.places.cursors[self.index]


class FollowerPage(msgspec.Struct, frozen=True):
    """A page, and the person whose list it is of."""

    nodes: Sequence[Visible]
    """The people without their edges."""
    owner: Visible
    kind: ListKind
    request: PageRequest
    places: Places
    more: bool

    @property
    def edges(self) -> list[FollowerEdge]:
        """Give the people with their places in the list."""
        return list(map(FollowerEdge, self.nodes, itertools.repeat(self.places), itertools.count()))

    @property
    def page_info(self) -> PageInfo:
        """Tell where the page stands in its list."""
        cursors, far = self.places.ends
        return page_info_of(cursors, self.request, far=far)


class _Reading(msgspec.Struct):
    """How far the reading of one owner's list has come; `scope` is what its cursors are bound to."""

    owner: Visible
    scope: str
    start: Position | None
    places: bytes = b""
    people: list[Visible] = []
    """Who is in these rows."""
    last: bytes = b""
    """The last row that was read, if any."""
    ended: bool = False

    @property
    def beyond(self) -> Position | None:
        """Give the place beyond which the next round reads."""
        return Position.of(self.last) if self.last else self.start


async def fetch_pages(
    context: Context, kind: ListKind, owners: Sequence[Visible], request: PageRequest, order: FollowOrder
) -> list[FollowerPage]:
    """Give the same page of many owners' lists: one statement, one load of people and one of relationships a round.

    A page reads at most MAX_ROUNDS times its size, however many are hidden, and then says that there is more.

    Raises:
        InvalidInput: the cursor is not of this list, viewer and order.
    """
    readings = _begin(context, kind, owners, request, order)
    loaders = context.loaders
    without = () if kind is ListKind.BLOCKED else loaders.recall_blocked_ids()
    if without is None:
        without = await loaders.fetch_blocked_ids()
    # In the owner's own lists those who are gone stay; all that a page may read is read at once, so that a page from
    # which somebody is missing costs what any other does.
    rounds, wanted = (1, MAX_ROUNDS * (request.size + 1)) if kind in _OWN else (MAX_ROUNDS, request.size + 1)
    span = Span(None, is_downward(order, backward=request.backward), wanted, without)
    for _ in range(rounds):
        lacking = [reading for reading in readings.values() if not reading.ended and len(reading.people) < wanted]
        if not lacking:
            break
        await _read_on(context, kind, lacking, span)
    return [_present(context, kind, readings[owner.user.id], request) for owner in owners]


def _begin(
    context: Context, kind: ListKind, owners: Sequence[Visible], request: PageRequest, order: FollowOrder
) -> dict[int, _Reading]:
    start, end = f"{context.viewer_id} {kind.value} ", f" {order.value}"
    cursor, decode = request.cursor, context.backend.cursors.decode
    readings = {}
    for owner in owners:
        owner_id = owner.user.id
        scope = f"{start}{owner_id}{end}"
        readings[owner_id] = _Reading(owner, scope, decode(scope, cursor) if cursor is not None else None)
    return readings


async def _read_on(context: Context, kind: ListKind, lacking: Sequence[_Reading], span: Span) -> None:
    """Read another round for whoever lacks rows."""
    among = await context.loaders.fetch_followed_ids() if kind is ListKind.MUTUAL else None
    groups: dict[Position | None, list[_Reading]] = collections.defaultdict(list)
    for reading in lacking:
        groups[reading.beyond].append(reading)
    for beyond, readings in groups.items():
        owner_ids = [reading.owner.user.id for reading in readings]
        its_span = span if beyond is None else dataclasses.replace(span, beyond=beyond)
        rows = await context.loaders.fetch_list(kind, owner_ids, its_span, among)
        found = [rows[owner_id] for owner_id in owner_ids]
        people = iter(await _meet_all(context, kind, user_ids_in(b"".join(found))))
        for reading, places in zip(readings, found, strict=True):
            _keep_visible(reading, places, [*itertools.islice(people, len(places) // PLACE_BYTES)], span.limit)


async def _meet_all(context: Context, kind: ListKind, user_ids: Sequence[int]) -> list[Visible | None]:
    """Decide about everybody in some lists at once; whom the viewer blocks is met as a stub, in that list only."""
    if kind is ListKind.BLOCKED:
        return await meet_own_blocks(context, user_ids)
    people = await meet(context, user_ids)
    if kind is ListKind.MUTED:  # a mute that has ended may not have been cleared yet
        return [person if person is not None and person.viewer_has_muted else None for person in people]
    return people


def _keep_visible(reading: _Reading, places: bytes, people: Sequence[Visible | None], limit: int) -> None:
    reading.places += places if all(people) else b"".join(itertools.compress(split_places(places), people))
    reading.people += filter(None, people)
    reading.ended = len(people) < limit
    reading.last = places[-PLACE_BYTES:] or reading.last


def _present(context: Context, kind: ListKind, reading: _Reading, request: PageRequest) -> FollowerPage:
    places, people = reading.places[: request.size * PLACE_BYTES], reading.people[: request.size]
    overfull = len(reading.people) > request.size
    # A page that could not be filled ends where reading stopped, which may lie beyond its last edge.
    last = places[-PLACE_BYTES:] if overfull else reading.last
    more = overfull or not reading.ended
    if request.backward:
        places = b"".join(reversed(split_places(places)))
        people.reverse()
    rows = Places(context.backend.cursors, reading.scope, places, last if more else b"")
    return FollowerPage(people, reading.owner, kind, request, rows, more)


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
