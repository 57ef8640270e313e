"""What a person was told, in groups: pages of them, their members, and what is unread.

A hidden actor's notification is left out as if it had never been there. What a block hides is withdrawn with the block
and left out of every statement, so that no page, count or cursor knows of it; whoever is gone is dropped here, until
the departure has withdrawn it all. Pages are not refilled for the gone, who are there no longer than that takes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from domain.notifications import GroupKey, Notification, NotificationGroup, NotificationKind
from domain.pages import Page, PageInfo, PageRequest, Position, page_info_of, round_count
from privacy.policy import Visible
from resolvers.context import Context
from resolvers.delivery import Delivered, deliver
from resolvers.visibility import meet
from storage.notification_groups import GroupSpan, fetch_groups, fetch_groups_by_key, fetch_members, fetch_unread

SHOWN_ACTORS: Final = 3
_SAMPLE: Final = 8
"""How many of a group's latest are read for its face; a group of no more than these is counted by who can be met."""


@dataclasses.dataclass(frozen=True, slots=True)
class ShownGroup:
    """A group as its owner sees it; counts are exact up to 1,000, above that rounded down to two digits."""

    id: str
    owner_id: int
    key: GroupKey
    latest: Delivered
    actors: Sequence[Visible]
    count: int
    unread_count: int


@dataclasses.dataclass(frozen=True, slots=True)
class NotificationEdge:
    """The latest notification of a group, and the group."""

    cursor: str
    node: Delivered
    group: ShownGroup


@dataclasses.dataclass(frozen=True, slots=True)
class NotificationPage(Page[NotificationEdge]):
    """A page of groups."""

    @property
    def nodes(self) -> list[Delivered]:
        """Give the latest notification of each group."""
        return [edge.node for edge in self.edges]


@dataclasses.dataclass(frozen=True, slots=True)
class MemberPage:
    """A page of one group's notifications."""

    nodes: Sequence[Delivered]
    page_info: PageInfo


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Which groups are asked for."""

    kinds: Sequence[NotificationKind]
    unread_only: bool
    filtered: bool

    @property
    def scope(self) -> str:
        """Name the choice, for what is bound to it."""
        return f"{[kind.name for kind in self.kinds]} {self.unread_only} {self.filtered}"


async def fetch_page(context: Context, owner: Visible, choice: Choice, request: PageRequest) -> NotificationPage:
    """Give a page of the owner's groups, the newest burst first.

    Raises:
        InvalidInput: the cursor is not of this list, viewer and choice.
    """
    owner_id = owner.user.id
    scope = f"{owner_id} notification groups {choice.scope}"
    beyond = context.backend.cursors.decode(scope, request.cursor) if request.cursor is not None else None
    without = await context.loaders.fetch_blocked_ids()
    span = GroupSpan(choice.kinds, choice.filtered, choice.unread_only, beyond, not request.backward, request.size + 1)
    read = await fetch_groups(context.database, owner_id, span, without)
    page, more = read[: request.size], len(read) > request.size
    shown = await show(context, owner_id, page[::-1] if request.backward else page)
    cursors = _cursors(context, scope, [group.key for group in shown])
    edges = [NotificationEdge(cursor, group.latest, group) for cursor, group in zip(cursors, shown, strict=True)]
    far = _cursors(context, scope, [page[-1].key])[0] if more else None
    return NotificationPage(edges, page_info_of(cursors, request, far=far))


def _cursors(context: Context, scope: str, keys: Sequence[GroupKey]) -> list[str]:
    return context.backend.cursors.encode(scope, [Position(key.burst, key.kind) for key in keys])


async def show(context: Context, owner_id: int, groups: Sequence[NotificationGroup]) -> list[ShownGroup]:
    """Give groups their faces, all at once; a group in which nobody can be met is left out."""
    keys = [group.key for group in groups]
    without = await context.loaders.fetch_blocked_ids()
    latest = await fetch_members(
        context.database, owner_id, keys, beyond=None, downward=True, limit=_SAMPLE, without=without
    )
    met = await _meet_actors(context, latest)
    shown = (_shown(context, owner_id, group, latest[group.key], met) for group in groups)
    return [group for group in shown if group is not None]


async def _meet_actors(
    context: Context, members: Mapping[GroupKey, Sequence[Notification]]
) -> dict[int, Visible | None]:
    ids = list(dict.fromkeys(row.actor_id for rows in members.values() for row in rows))
    return dict(zip(ids, await meet(context, ids), strict=True))


def _shown(
    context: Context,
    owner_id: int,
    group: NotificationGroup,
    latest: Sequence[Notification],
    met: Mapping[int, Visible | None],
) -> ShownGroup | None:
    visible = [(row, person) for row in latest if (person := met[row.actor_id]) is not None]
    if not visible:
        return None
    gone = [row for row in latest if met[row.actor_id] is None]
    unread_gone = sum(row.read_at is None for row in gone)
    return ShownGroup(
        id=context.backend.cursors.encode(group_scope(owner_id), [_place_of(group.key)])[0],
        owner_id=owner_id,
        key=group.key,
        latest=deliver(context, *visible[0]),
        actors=[person for _, person in visible[:SHOWN_ACTORS]],
        count=round_count(group.total - len(gone)),
        unread_count=round_count(group.unread - unread_gone),
    )


async def fetch_member_pages(context: Context, groups: Sequence[ShownGroup], request: PageRequest) -> list[MemberPage]:
    """Give the same page of many groups of one owner, the newest first: one statement, one load of people.

    Raises:
        InvalidInput: the cursor is not of this group and viewer.
    """
    owner_id, keys = groups[0].owner_id, [group.key for group in groups]
    beyond = None
    for key in keys if request.cursor is not None else ():
        beyond = context.backend.cursors.decode(_member_scope(owner_id, key), request.cursor or "").major
    members = await fetch_members(
        context.database,
        owner_id,
        keys,
        beyond=beyond,
        downward=not request.backward,
        limit=request.size + 1,
        without=await context.loaders.fetch_blocked_ids(),
    )
    met = await _meet_actors(context, members)
    return [
        _member_page(context, _member_scope(owner_id, key), [(row, met[row.actor_id]) for row in rows], request)
        for key, rows in members.items()
    ]


def _member_page(
    context: Context, scope: str, read: Sequence[tuple[Notification, Visible | None]], request: PageRequest
) -> MemberPage:
    page, more = read[: request.size], len(read) > request.size
    in_order = reversed(page) if request.backward else page
    nodes = [deliver(context, row, person) for row, person in in_order if person is not None]
    places = [Position(node.notification.sequence, 0) for node in nodes]
    cursors = context.backend.cursors.encode(scope, places)
    far = context.backend.cursors.encode(scope, [Position(page[-1][0].sequence, 0)])[0] if more else None
    return MemberPage(nodes, page_info_of(cursors, request, far=far))


async def fetch_by_key(context: Context, owner_id: int, keys: Sequence[GroupKey]) -> list[ShownGroup]:
    """Give some of the owner's groups, the newest first."""
    without = await context.loaders.fetch_blocked_ids()
    return await show(context, owner_id, await fetch_groups_by_key(context.database, owner_id, keys, without))


async def fetch_unread_count(context: Context, owner_id: int) -> int:
    """Count what the owner has not read; exact up to 1,000, above that rounded down to two digits."""
    without = await context.loaders.fetch_blocked_ids()
    return round_count(await fetch_unread(context.database, owner_id, without))


def group_scope(owner_id: int) -> str:
    """Name what the ids of an owner's groups are bound to."""
    return f"notification group of {owner_id}"


def _place_of(key: GroupKey) -> Position:
    return Position(key.burst, 2 * key.kind + key.filtered)


def key_at(place: Position) -> GroupKey:
    """Read a group out of its id."""
    return GroupKey(bool(place.minor % 2), place.major, NotificationKind(place.minor // 2))


def _member_scope(owner_id: int, key: GroupKey) -> str:
    return f"{owner_id} members {key.filtered} {key.burst} {key.kind.name}"
