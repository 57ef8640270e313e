"""What people read, over HTTP through a public client library, on one cell and on two."""

import itertools
from typing import Any

import pytest

from tests.acceptance.people import Answer, Data, People, Person, Refused

PROFILE = "{ id username displayName bio isPrivate followersCount followingCount isViewer viewerFollowState }"
PAGE = """
query Page($id: ID!, $first: Int, $after: String, $last: Int, $before: String, $orderBy: FollowOrder! = NEWEST_FIRST) {
  user(id: $id) {
    followers(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy) {
      totalCount
      edges { cursor followedAt node { username } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}
"""
USER = "query($id: ID!) { user(id: $id) { id username bio followersCount } }"
USER_BY_NAME = "query($name: String!) { user(username: $name) { id username } }"
FORGED = "AAAAAAAAAAAAAAAAAAAAAA"


def names(page: Data) -> list[str]:
    return [edge["node"]["username"] for edge in page["edges"]]


async def page_of(viewer: Person, owner: Person, **arguments: object) -> Data:
    page: Data = (await viewer.ask(PAGE, id=owner.id, **arguments))["user"]["followers"]
    return page


async def with_followers(people: People, number: int) -> tuple[Person, list[str]]:
    """Give somebody with that many followers, and their names, the newest first."""
    owner = people.take()
    followers = [people.take() for _ in range(number)]
    for follower in followers:
        await follower.follow(owner)
    return owner, [follower.name for follower in reversed(followers)]


async def test_people_read_who_they_are(people: People) -> None:
    me = (await people.ana.ask(f"{{ me {PROFILE} }}"))["me"]
    assert (me["id"], me["username"], me["isViewer"]) == (people.ana.id, "ana", True)
    assert await people.anonymous.ask("{ me { id } }") == {"me": None}


async def test_a_person_is_found_by_name_and_by_id(people: People) -> None:
    by_name = await people.eve.ask(f'{{ user(username: "ana") {PROFILE} }}')
    by_id = await people.eve.ask(f'{{ user(id: "{people.ana.id}") {PROFILE} }}')
    assert by_name == by_id
    assert by_name["user"]["displayName"] == "Ana Reyes"


@pytest.mark.parametrize("spelling", ["ANA", "\uff41\uff4e\uff41"])
async def test_look_alikes_of_a_name_find_the_same_person(people: People, spelling: str) -> None:
    assert (await people.eve.ask(USER_BY_NAME, name=spelling))["user"]["id"] == people.ana.id


@pytest.mark.parametrize("arguments", ["", '(username: "ana", id: "x")', "(username: null)"])
async def test_user_takes_exactly_one_of_name_and_id(people: People, arguments: str) -> None:
    with pytest.raises(Refused) as refused:
        await people.eve.ask(f"{{ user{arguments} {{ id }} }}")
    assert refused.value.code == "BAD_USER_INPUT"


async def test_many_come_in_the_order_asked_for_with_null_for_who_is_not_there(people: People) -> None:
    asked = [people.eve.id, people.nobody, people.star.id, FORGED, people.eve.id, "", people.gone.id]
    expected = ["eve", None, "star", None, "eve", None, None]
    document = """query($ids: [ID!]!) {
      users(ids: $ids) { username } nodes(ids: $ids) { ... on User { username } } }"""
    data = await people.ana.ask(document, ids=asked)
    for found in data.values():
        assert [person and person["username"] for person in found] == expected


async def test_many_are_found_by_name(people: People) -> None:
    data = await people.ana.ask("query($n: [String!]) { users(usernames: $n) { id } }", n=["star", "nobody", "ana"])
    assert [person and person["id"] for person in data["users"]] == [people.star.id, None, people.ana.id]


async def test_more_than_a_hundred_at_once_are_refused(people: People) -> None:
    for field in ("users", "nodes"):
        with pytest.raises(Refused) as refused:
            await people.ana.ask(f"query($ids: [ID!]!) {{ {field}(ids: $ids) {{ id }} }}", ids=[people.eve.id] * 101)
        assert refused.value.code == "BAD_USER_INPUT"


async def test_a_node_is_a_user(people: People) -> None:
    data = await people.ana.ask(f'{{ node(id: "{people.eve.id}") {{ __typename id ... on User {{ username }} }} }}')
    assert data["node"] == {"__typename": "User", "id": people.eve.id, "username": "eve"}


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775808",
        "-0",
        "1.0",
        "1 ",
        "\u0661\u0662",
        "VXNlcjox",
        "x" * 10_240,
        "\x00",
        "\U0001f600",
        "' OR 1=1--",
    ],
)
async def test_what_is_no_id_and_no_name_is_nobody(people: People, text: str) -> None:
    data = await people.ana.ask(
        """query($id: ID!, $name: String!) {
          a: user(id: $id) { id } b: user(username: $name) { id } node(id: $id) { id } }""",
        id=text,
        name=text,
    )
    assert data == {"a": None, "b": None, "node": None}


async def test_the_viewer_fields_tell_of_the_viewer_and_the_person(people: People) -> None:
    fields = "{ isViewer viewerIsFollowing isFollowingViewer viewerFollowState viewerCanFollow viewerHasBlocked }"
    data = await people.ana.ask(
        f'{{ bo: user(username: "bo") {fields} star: user(username: "star") {fields} me {fields} }}'
    )
    assert data["bo"] == {
        "isViewer": False,
        "viewerIsFollowing": False,
        "isFollowingViewer": True,
        "viewerFollowState": "NONE",
        "viewerCanFollow": True,
        "viewerHasBlocked": False,
    }
    assert data["star"] == data["bo"] | {
        "viewerIsFollowing": True,
        "isFollowingViewer": False,
        "viewerFollowState": "ACTIVE",
        "viewerCanFollow": False,
    }
    assert data["me"] == dict.fromkeys(data["me"], False) | {"isViewer": True, "viewerFollowState": "NONE"}


async def test_strangers_see_the_stub_of_a_private_account(people: People) -> None:
    fields = (
        "id username displayName isPrivate bio location links { url } followersCount followers(first: 1) { totalCount }"
    )
    bo = (await people.eve.ask(f'{{ user(username: "bo") {{ {fields} }} }}'))["user"]
    shown = {"id": people.bo.id, "username": "bo", "displayName": "Bo Lindqvist", "isPrivate": True}
    hidden = dict.fromkeys(["bio", "location", "links", "followersCount", "followers"])
    assert bo == shown | hidden
    assert (await people.bo.ask("{ me { bio location } }"))["me"] == {
        "bio": "Only friends read this.",
        "location": "Malmö",
    }


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("order_by", ["NEWEST_FIRST", "OLDEST_FIRST"])
async def test_pages_forward_and_backward_give_the_same_list(people: People, size: int, order_by: str) -> None:
    whole = await page_of(people.ana, people.star, first=100, orderBy=order_by)
    expected = names(whole)[: max(5, size)]
    first = whole["edges"][len(expected) - 1]["cursor"]
    forward: list[str] = []
    after = None
    while len(forward) < len(expected):
        page = await page_of(people.ana, people.star, first=size, after=after, orderBy=order_by)
        forward += names(page)
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        assert page["pageInfo"]["startCursor"] == page["edges"][0]["cursor"]
        after = page["pageInfo"]["endCursor"]
    backward: list[str] = names({"edges": [whole["edges"][len(expected) - 1]]})
    before = first
    while True:
        page = await page_of(people.ana, people.star, last=size, before=before, orderBy=order_by)
        backward = names(page) + backward
        before = page["pageInfo"]["startCursor"]
        if not page["pageInfo"]["hasPreviousPage"]:
            break
    assert forward[: len(expected)] == expected
    assert backward == expected


async def test_a_list_ends_and_says_so(people: People) -> None:
    owner, followers = await with_followers(people, 3)
    page = await page_of(people.ana, owner, first=3)
    assert names(page) == followers
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (3, False)
    last = await page_of(people.ana, owner, first=3, after=page["pageInfo"]["endCursor"])
    assert (last["edges"], last["pageInfo"]["hasNextPage"], last["pageInfo"]["hasPreviousPage"]) == ([], False, True)
    assert names(await page_of(people.ana, owner, last=2)) == followers[1:]


async def test_a_page_is_stable_while_others_come_and_go(people: People) -> None:
    owner, followers = await with_followers(people, 4)
    page = await page_of(people.ana, owner, first=2)
    newest = people.take()
    await newest.follow(owner)
    following = await page_of(people.ana, owner, first=2, after=page["pageInfo"]["endCursor"])
    assert names(page) + names(following) == followers
    back = await page_of(people.ana, owner, last=2, before=following["pageInfo"]["startCursor"])
    assert names(back) == followers[:2]
    assert back["pageInfo"]["hasPreviousPage"] is True
    await newest.unfollow(owner)
    again = await page_of(people.ana, owner, first=2, after=page["pageInfo"]["endCursor"])
    assert names(again) == followers[2:]


async def test_following_is_the_other_side_of_followers(people: People) -> None:
    document = """query($id: ID!) { user(id: $id) {
      followingCount following(first: 10) { totalCount nodes { username viewerIsFollowing } } } }"""
    ana = (await people.eve.ask(document, id=people.ana.id))["user"]
    assert "star" in [node["username"] for node in ana["following"]["nodes"]]
    assert ana["followingCount"] == ana["following"]["totalCount"] == len(ana["following"]["nodes"])


async def test_equal_cursors_of_two_reads_are_equal(people: People) -> None:
    one, two = [await page_of(people.ana, people.star, first=3) for _ in range(2)]
    assert one == two


@pytest.mark.parametrize(
    "fault",
    ["forged", "foreign viewer", "foreign list", "foreign order", "changed", "truncated", "longer", "empty", "nul"],
)
async def test_a_cursor_that_was_not_made_for_this_page_is_refused(people: People, fault: str) -> None:
    own = (await page_of(people.ana, people.star, first=1))["pageInfo"]["endCursor"]
    cursor = {
        "forged": "A" * 32,
        "foreign viewer": (await page_of(people.eve, people.star, first=1))["pageInfo"]["endCursor"],
        "foreign list": (await page_of(people.ana, people.ana, first=1))["pageInfo"]["endCursor"],
        "foreign order": (await page_of(people.ana, people.star, first=1, orderBy="OLDEST_FIRST"))["pageInfo"][
            "endCursor"
        ],
        "changed": ("B" if own[0] != "B" else "C") + own[1:],
        "truncated": own[:-1],
        "longer": own + own[-1],
        "empty": "",
        "nul": own[:-1] + "\x00",
    }[fault]
    for arguments in ({"first": 1, "after": cursor}, {"last": 1, "before": cursor}):
        with pytest.raises(Refused) as refused:
            await page_of(people.ana, people.star, **arguments)
        assert refused.value.code == "BAD_USER_INPUT"


async def test_a_good_cursor_of_a_foreign_list_tells_nothing_more_than_a_forged_one(people: People) -> None:
    foreign = (await page_of(people.eve, people.star, first=1))["pageInfo"]["endCursor"]
    answers = [
        await people.ana.post(PAGE, id=people.star.id, first=1, after=cursor) for cursor in (foreign, "A" * 32, "")
    ]
    assert len({answer.body for answer in answers}) == 1


UNCOMPARED = {"date", "traceparent", "x-request-id", "x-ratelimit-remaining", "x-ratelimit-used", "x-ratelimit-reset"}
"""Headers that are of the moment, or count what was asked before."""


def told(answer: Answer) -> tuple[Any, ...]:
    """Give everything of an answer that depends on the question."""
    headers = sorted((name, text) for name, text in answer.headers.items() if name.lower() not in UNCOMPARED)
    return answer.status, answer.body, headers


async def test_whoever_blocked_the_viewer_is_like_nobody_to_the_byte(people: People) -> None:
    star = people.star.id
    hidden, nobodies = [people.dee.id, people.cy.id, people.gone.id], [people.nobody, FORGED]
    documents = {
        USER: lambda id_: {"id": id_},
        "query($id: ID!) { node(id: $id) { id } }": lambda id_: {"id": id_},
        "query($ids: [ID!]!) { nodes(ids: $ids) { id } }": lambda id_: {"ids": [id_]},
        "query($ids: [ID!]) { users(ids: $ids) { id bio } }": lambda id_: {"ids": [star, id_]},
        PAGE: lambda id_: {"id": id_, "first": 3},
    }
    for (document, variables), accept in itertools.product(
        documents.items(), ("application/json", "application/graphql-response+json")
    ):
        answers = [await people.ana.post(document, accept, **variables(id_)) for id_ in hidden + nobodies]
        assert [told(answer) for answer in answers] == [told(answers[-1])] * len(answers)
        assert b"error" not in answers[0].body


async def test_whoever_blocked_the_viewer_has_a_name_like_nobody_s(people: People) -> None:
    answers = [await people.ana.post(USER_BY_NAME, name=name) for name in ("dee", "cy", "gone", "nob", "", "\x00")]
    assert len({answer.body for answer in answers}) == 1
    assert (await people.eve.ask(USER_BY_NAME, name="dee"))["user"]["username"] == "dee"


async def test_a_block_hides_both_from_the_lists_of_a_third(people: People) -> None:
    owner, [newer, older] = await with_followers(people, 2)
    viewer = people.take()
    page = await page_of(viewer, owner, first=10)
    assert names(page) == [newer, older]
    hidden = next(person for person in [await by_name(people, newer)])
    await viewer.act("blockUser", userId=hidden)
    after = await page_of(viewer, owner, first=10)
    assert (names(after), after["totalCount"]) == ([older], 1)
    assert names(await page_of(people.ana, owner, first=10)) == [newer, older]


async def by_name(people: People, name: str) -> str:
    return str((await people.anonymous.ask(USER_BY_NAME, name=name))["user"]["id"])


async def test_the_deleted_are_hidden_everywhere_and_from_themselves(people: People) -> None:
    for viewer in (people.anonymous, people.ana, people.star, people.gone):
        data = await viewer.ask(
            """query($id: ID!, $ids: [ID!]!) { me { username } user(id: $id) { id } name: user(username: "gone") { id }
               node(id: $id) { id } nodes(ids: $ids) { id } users(ids: $ids) { id } }""",
            id=people.gone.id,
            ids=[people.gone.id],
        )
        me = {"username": viewer.name} if viewer.name not in ("", "gone") else None
        assert data == {"me": me, "user": None, "name": None, "node": None, "nodes": [None], "users": [None]}
