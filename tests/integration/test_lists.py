"""Lists: pages in both directions, what blocks hide, and how many statements they take. On one cell and on two."""

import contextlib
from collections.abc import Iterator

import msgspec
import pytest

from domain.errors import InvalidInput
from domain.events import EventType
from domain.pages import PageRequest
from domain.relationships import FollowOrder, ListKind
from domain.users import User, UserState
from privacy.policy import Visible
from resolvers import blocks, follows, people
from resolvers.context import Context
from resolvers.lists import FollowerPage, fetch_pages, fetch_total_counts
from storage import list_heads, lists
from storage.cells import Cell, Record
from storage.database import Database
from storage.list_entries import PLACE_BYTES
from storage.lists import Span
from storage.users import change_user
from tests.cold import is_watch, make_cold
from tests.conftest import MakePerson, Person

NEWEST, OLDEST = FollowOrder.NEWEST_FIRST, FollowOrder.OLDEST_FIRST


async def met(context: Context, person: Person) -> Visible:
    [found] = await people.fetch_by_ids(context, [person.opaque_id])
    assert found is not None
    return found


async def page(
    context: Context,
    owner: Person,
    size: int,
    cursor: str | None = None,
    *,
    backward: bool = False,
    order: FollowOrder = NEWEST,
    kind: ListKind = ListKind.FOLLOWERS,
) -> FollowerPage:
    owners = [await met(context, owner)]
    [found] = await fetch_pages(context, kind, owners, PageRequest(size, cursor, backward=backward), order)
    return found


def names(found: FollowerPage) -> list[str]:
    return [person.user.username for person in found.nodes]


async def crowd_of(make_person: MakePerson, star: Person, size: int) -> list[Person]:
    crowd = [await make_person() for _ in range(size)]
    for fan in crowd:
        await follows.follow(fan.context, star.opaque_id)
    return crowd


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, int]]:
    """Count the statements that each cell gets."""
    statements: dict[int, int] = {}
    original = Cell._fetch

    async def counting(self: Cell, statement: str, arguments: tuple[object, ...]) -> list[Record]:
        if not is_watch(statement):
            statements[self.number] = statements.get(self.number, 0) + 1
        return await original(self, statement, arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Cell, "_fetch", counting)
        yield statements


@pytest.mark.parametrize("order", [NEWEST, OLDEST])
async def test_pages_cover_a_list_once_in_either_direction(make_person: MakePerson, order: FollowOrder) -> None:
    star = await make_person()
    crowd = [fan.name for fan in await crowd_of(make_person, star, 7)]
    expected = crowd[::-1] if order is NEWEST else crowd
    forward: list[str] = []
    cursor = None
    while True:
        found = await page(star.context, star, 3, cursor, order=order)
        forward += names(found)
        cursor = found.page_info.end_cursor
        if not found.page_info.has_next_page:
            break
    backward: list[str] = []
    cursor = None
    while True:
        found = await page(star.context, star, 3, cursor, backward=True, order=order)
        backward = names(found) + backward
        cursor = found.page_info.start_cursor
        if not found.page_info.has_previous_page:
            break
    assert forward == backward == expected


@pytest.mark.parametrize("kind", list_heads.STATEMENTS)
async def test_the_head_of_a_list_is_what_its_rows_are(
    make_person: MakePerson, database: Database, kind: ListKind
) -> None:
    star = await make_person()
    crowd = await crowd_of(make_person, star, 4)
    for other in crowd[1:]:
        await follows.follow(star.context, other.opaque_id)
    everybody = [one.id for one in (star, *crowd)]
    for limit in (2, 9):
        rows = await lists.fetch_list(database, kind, everybody, Span(None, downward=True, limit=limit))
        heads = await list_heads.fetch_heads(database, kind, everybody, limit)
        assert heads == rows
        assert len(rows[star.id]) == PLACE_BYTES * min(limit, 4 if kind is ListKind.FOLLOWERS else 3)


async def test_a_page_is_stable_while_people_join(make_person: MakePerson) -> None:
    star = await make_person()
    crowd = await crowd_of(make_person, star, 4)
    first = await page(star.context, star, 2)
    await crowd_of(make_person, star, 2)
    second = await page(star.context, star, 10, first.page_info.end_cursor)
    assert names(second) == [crowd[1].name, crowd[0].name]


async def test_whom_a_block_hides_is_in_no_page_and_no_count(make_person: MakePerson) -> None:
    star, viewer = await make_person(), await make_person()
    crowd = await crowd_of(make_person, star, 6)
    await blocks.block(viewer.context, crowd[1].opaque_id, expires_at=None)
    await blocks.block(crowd[4].context, viewer.opaque_id, expires_at=None)
    context = viewer.context
    found = await page(context, star, 4)
    assert names(found) == [crowd[i].name for i in (5, 3, 2, 0)]
    assert not found.page_info.has_next_page
    assert await fetch_total_counts(context, [found]) == [4]
    [counts] = await people.fetch_counts(context, [found.owner])
    assert counts is not None
    assert counts.followers == 4
    own = await page(star.context, star, 100)
    assert len(own.edges) == 6


@pytest.mark.parametrize(
    ("exact", "told"),
    [(999, 999), (1000, 1000), (1001, 1000), (1999, 1900), (12_345, 12_000), (99_999, 99_000), (1_234_567, 1_200_000)],
)
async def test_above_a_thousand_a_total_is_rounded_so_that_one_block_does_not_show_in_it(
    database: Database, make_person: MakePerson, exact: int, told: int
) -> None:
    star, viewer = await make_person(), await make_person()
    await crowd_of(make_person, star, 1)
    await database.shards.home(star.id).fetch(
        "UPDATE user_counts SET followers = $2, following = $2 WHERE user_id = $1", star.id, exact
    )
    context = viewer.context
    pages = [await page(context, star, 1, kind=kind) for kind in (ListKind.FOLLOWERS, ListKind.FOLLOWING)]
    assert await fetch_total_counts(context, pages) == [told, told]


async def test_a_page_from_which_people_are_gone_says_that_there_is_more(
    make_person: MakePerson, database: Database
) -> None:
    star, viewer = await make_person(), await make_person()
    crowd = await crowd_of(make_person, star, 12)
    for fan in crowd[1:]:
        await change_user(database, fan.id, suspended, event=EventType.USER_UPDATED)
    found = await page(viewer.context, star, 1)
    assert names(found) == []
    assert found.page_info.has_next_page
    rest = await page(viewer.context, star, 1, found.page_info.end_cursor)
    assert names(rest) == [crowd[0].name]


def suspended(user: User) -> User:
    return msgspec.structs.replace(user, state=UserState.SUSPENDED)


async def test_blocks_never_shorten_a_page(make_person: MakePerson, monkeypatch: pytest.MonkeyPatch) -> None:
    star, viewer, free = await make_person(), await make_person(cell=0), await make_person(cell=0)
    crowd = await crowd_of(make_person, star, 12)
    costs = []
    for one in (free, viewer):
        context = one.context
        await make_cold(context.backend.caches)
        with counted(monkeypatch) as statements:
            found = await page(context, star, 3)
        costs.append(statements)
        assert len(found.edges) == 3
        for fan in crowd[6:]:
            await blocks.block(fan.context, viewer.opaque_id, expires_at=None)
    assert costs[0] == costs[1]


async def test_a_cursor_serves_only_the_viewer_list_and_order_it_was_made_for(make_person: MakePerson) -> None:
    star, other = await make_person(), await make_person()
    await crowd_of(make_person, star, 3)
    cursor = (await page(star.context, star, 1)).page_info.end_cursor
    assert names(await page(star.context, star, 1, cursor)) != []
    for context, owner, order, kind in (
        (other.context, star, NEWEST, ListKind.FOLLOWERS),
        (star.context, other, NEWEST, ListKind.FOLLOWERS),
        (star.context, star, OLDEST, ListKind.FOLLOWERS),
        (star.context, star, NEWEST, ListKind.FOLLOWING),
    ):
        with pytest.raises(InvalidInput):
            await page(context, owner, 1, cursor, order=order, kind=kind)


async def test_a_page_of_people_costs_few_statements_per_cell(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star, viewer = await make_person(), await make_person()
    await crowd_of(make_person, star, 20)
    context = viewer.context
    await make_cold(context.backend.caches)
    with counted(monkeypatch) as statements:
        [found] = await people.fetch_by_names(context, [star.name])
        assert found is not None
        [listed] = await fetch_pages(
            context, ListKind.FOLLOWERS, [found], PageRequest(20, None, backward=False), NEWEST
        )
        await people.fetch_counts(context, [found, *listed.nodes])
    # The name, the person, the viewer's side of everybody; the list, its people, and whom blocks hide in the counts.
    assert max(statements.values()) <= 6
    assert len(listed.edges) == 20


async def test_the_same_page_of_many_owners_is_one_statement_per_cell(
    make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = [await make_person() for _ in range(6)]
    for owner in owners:
        await crowd_of(make_person, owner, 2)
    context = owners[0].context
    found = [person for person in await people.fetch_by_ids(context, [o.opaque_id for o in owners]) if person]
    with counted(monkeypatch) as statements:
        pages = await fetch_pages(context, ListKind.FOLLOWERS, found, PageRequest(2, None, backward=False), NEWEST)
    assert [len(one.edges) for one in pages] == [2] * 6
    assert max(statements.values()) <= 4
