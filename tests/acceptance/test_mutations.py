"""What people change, over HTTP through a public client library, on one cell and on two."""

import datetime as dt
import secrets
from collections.abc import AsyncIterator

import pytest

from domain.ids import NodeType, OpaqueIds, new_id
from tests.acceptance.people import MUTATION, Data, People, Person, Refused
from tests.acceptance.tables import Tables, open_tables

STATES = "query($id: ID!) { user(id: $id) { viewerFollowState followersCount } me { followingCount } }"
FORGED = "AAAAAAAAAAAAAAAAAAAAAA"
ON_A_PERSON = (
    "followUser",
    "unfollowUser",
    "blockUser",
    "unblockUser",
    "removeFollower",
    "acceptFollowRequest",
    "rejectFollowRequest",
    "cancelFollowRequest",
    "muteUser",
    "unmuteUser",
)
UNAVAILABLE = [{"code": "USER_UNAVAILABLE", "message": "This person is not available.", "path": ["input", "userId"]}]
PROFILE = """
mutation Change($input: UpdateProfileInput!) {
  updateProfile(input: $input) {
    clientMutationId consistencyToken
    user { displayName bio avatarUrl pronouns location links { label url } profileVersion }
    userErrors { code message path }
  }
}
"""
PRIVACY = """
mutation Change($input: UpdatePrivacySettingsInput!) {
  updatePrivacySettings(input: $input) { user { isPrivate profileVersion } userErrors { code message path } }
}
"""


async def states(viewer: Person, other: Person) -> tuple[str, int, int]:
    data = await viewer.ask(STATES, id=other.id)
    return data["user"]["viewerFollowState"], data["user"]["followersCount"], data["me"]["followingCount"]


async def change_profile(person: Person, **fields: object) -> Data:
    payload: Data = (await person.ask(PROFILE, input=fields))["updateProfile"]
    return payload


async def change_privacy(person: Person, **fields: object) -> Data:
    payload: Data = (await person.ask(PRIVACY, input=fields))["updatePrivacySettings"]
    return payload


def told(payload: Data) -> Data:
    """Leave out the token, of which each is sealed anew."""
    return {name: value for name, value in payload.items() if name != "consistencyToken"}


async def version_of(person: Person) -> int:
    return int((await person.ask("{ me { profileVersion } }"))["me"]["profileVersion"])


async def test_following_twice_is_following_once(people: People) -> None:
    one, other = people.take(), people.take()
    first = await one.act("followUser", userId=other.id, clientMutationId="mine")
    assert (first["clientMutationId"], first["user"]["viewerFollowState"]) == ("mine", "ACTIVE")
    assert await states(one, other) == ("ACTIVE", 1, 2)  # the other, and star
    assert told(await one.follow(other)) == told(first) | {"clientMutationId": None}
    assert await states(one, other) == ("ACTIVE", 1, 2)


async def test_unfollowing_twice_is_unfollowing_once(people: People) -> None:
    one, other = people.take(), people.take()
    await one.follow(other)
    first = await one.unfollow(other)
    assert first["user"]["viewerFollowState"] == "NONE"
    assert told(await one.unfollow(other)) == told(first)
    assert await states(one, other) == ("NONE", 0, 1)


async def test_a_follow_shows_to_the_followed_at_once(people: People) -> None:
    one, other = people.take(), people.take()
    await one.follow(other)
    data = await other.ask("query($id: ID!) { user(id: $id) { isFollowingViewer } me { followersCount } }", id=one.id)
    assert data == {"user": {"isFollowingViewer": True}, "me": {"followersCount": 1}}


async def test_blocking_twice_is_blocking_once_and_unblocking_restores_nothing(people: People) -> None:
    one, other = people.take(), people.take()
    await one.follow(other)
    await other.follow(one)
    first = await one.act("blockUser", userId=other.id)
    assert (first["userErrors"], first["user"]["viewerHasBlocked"]) == ([], True)
    assert told(await one.act("blockUser", userId=other.id)) == told(first)
    for viewer, hidden in ((one, other), (other, one)):
        assert await viewer.ask("query($id: ID!) { user(id: $id) { id } }", id=hidden.id) == {"user": None}
    opened = await one.act("unblockUser", userId=other.id)
    assert (opened["user"]["viewerHasBlocked"], opened["user"]["viewerFollowState"]) == (False, "NONE")
    assert told(await one.act("unblockUser", userId=other.id)) == told(opened)
    assert await states(one, other) == ("NONE", 0, 1)
    assert await states(other, one) == ("NONE", 0, 1)


async def test_a_block_with_an_end_that_has_passed_is_refused(people: People) -> None:
    past = (dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)).isoformat()
    payload = await people.eve.act("blockUser", userId=people.new.id, expiresAt=past)
    assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [
        ("INVALID_VALUE", ["input", "expiresAt"])
    ]


async def test_a_private_account_is_asked_first(people: People) -> None:
    one = people.take()
    payload = await one.follow(people.bo)
    assert (payload["user"]["viewerFollowState"], payload["user"]["viewerIsFollowing"]) == ("PENDING", False)
    assert told(await one.follow(people.bo)) == told(payload)
    assert (await one.ask('{ user(username: "bo") { bio } }'))["user"]["bio"] is None
    assert (await one.unfollow(people.bo))["user"]["viewerFollowState"] == "NONE"


@pytest.fixture(scope="module")
async def tables(people: People) -> AsyncIterator[Tables]:
    async with open_tables(people.job) as opened:
        yield opened


@pytest.mark.parametrize("mutation", ON_A_PERSON)
async def test_nobody_acts_on_himself(people: People, tables: Tables, mutation: str) -> None:
    before = await tables.written(people.ana)
    payload = await people.ana.act(mutation, userId=people.ana.id)
    assert payload["user"] is None
    assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [
        ("CANNOT_TARGET_SELF", ["input", "userId"])
    ]
    assert await tables.written(people.ana) == before


@pytest.mark.parametrize("mutation", ON_A_PERSON)
async def test_acting_on_who_blocked_the_viewer_is_acting_on_nobody_to_the_byte_and_changes_nothing(
    people: People, tables: Tables, mutation: str
) -> None:
    document = MUTATION.format(name=mutation, input=f"{mutation[0].upper()}{mutation[1:]}Input")
    foreign = OpaqueIds(secrets.token_bytes(32)).encode(NodeType.USER, new_id(0))
    elsewhere = tables.ids.encode(NodeType.USER, new_id(999))
    unknown = (people.nobody, FORGED, foreign, elsewhere, people.gone.id, people.eve.id[:-1], "", "\x00")
    before = [await tables.written(person) for person in (people.ana, people.dee)]
    for accept in ("application/json", "application/graphql-response+json"):
        answers = [await people.ana.post(document, accept, input={"userId": id_}) for id_ in (people.dee.id, *unknown)]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert answers[0].json["data"][mutation]["userErrors"] == UNAVAILABLE
    assert [await tables.written(person) for person in (people.ana, people.dee)] == before


async def test_whom_the_viewer_blocks_cannot_be_followed(people: People) -> None:
    payload = await people.ana.act("followUser", userId=people.cy.id)
    assert payload["userErrors"] == UNAVAILABLE


@pytest.mark.parametrize("who", ["anonymous", "gone"])
@pytest.mark.parametrize(
    ("mutation", "fields"),
    [
        ("followUser", {"userId": FORGED}),
        ("unfollowUser", {"userId": FORGED}),
        ("blockUser", {"userId": FORGED}),
        ("unblockUser", {"userId": FORGED}),
        ("updateProfile", {"bio": "x"}),
        ("updateProfile", {"bio": "\x00"}),
        ("updatePrivacySettings", {"isPrivate": True}),
        ("updatePrivacySettings", {"allow": [FORGED]}),
    ],
)
async def test_a_change_needs_somebody_who_is_there(
    people: People, who: str, mutation: str, fields: dict[str, object]
) -> None:
    person: Person = getattr(people, who)
    with pytest.raises(Refused) as refused:
        await person.act(mutation, **fields)
    assert refused.value.code == "UNAUTHENTICATED"


async def test_a_profile_is_changed_field_by_field(people: People) -> None:
    one = people.take()
    links = [{"label": "home", "url": "https://example.org/~one"}]
    payload = await change_profile(one, displayName="  Une\u0301 ", bio="two\nlines", links=links, pronouns="she/her")
    assert payload["userErrors"] == []
    user = payload["user"]
    assert (user["displayName"], user["bio"], user["links"]) == ("Un\u00e9", "two\nlines", links)
    after = (await change_profile(one, bio=None, location="Porto"))["user"]
    assert after == user | {"bio": None, "location": "Porto", "profileVersion": user["profileVersion"] + 1}


async def test_a_change_of_an_older_version_is_a_conflict(people: People) -> None:
    one = people.take()
    version = await version_of(one)
    assert (await change_profile(one, bio="first", expectedVersion=version))["user"]["profileVersion"] == version + 1
    for change in (
        change_profile(one, bio="second", expectedVersion=version),
        change_privacy(one, isPrivate=True, expectedVersion=version),
    ):
        with pytest.raises(Refused) as refused:
            await change
        assert refused.value.code == "CONFLICT"
        assert refused.value.errors[0]["extensions"]["currentVersion"] == version + 1
    me = (await one.ask("{ me { bio isPrivate profileVersion } }"))["me"]
    assert me == {"bio": "first", "isPrivate": False, "profileVersion": version + 1}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"bio": "a\x00b"}, ["input", "bio"]),
        ({"displayName": "\x00"}, ["input", "displayName"]),
        ({"displayName": "two\nlines"}, ["input", "displayName"]),
        ({"location": "\x1b[31m"}, ["input", "location"]),
        ({"displayName": "x" * 51}, ["input", "displayName"]),
        ({"bio": "x" * 501}, ["input", "bio"]),
        ({"pronouns": "x" * 41}, ["input", "pronouns"]),
        ({"location": "x" * 81}, ["input", "location"]),
        ({"avatarUrl": "https://example.org/" + "x" * 490}, ["input", "avatarUrl"]),
        ({"avatarUrl": "javascript:alert(1)"}, ["input", "avatarUrl"]),
        ({"avatarUrl": "http://example.org/a.png"}, ["input", "avatarUrl"]),
        ({"links": [{"label": "x", "url": "javascript:alert(1)"}]}, ["input", "links", "0"]),
        ({"links": [{"label": "", "url": "https://example.org"}]}, ["input", "links", "0"]),
        ({"links": [{"label": "x", "url": "https://user@example.org"}]}, ["input", "links", "0"]),
        ({"links": [{"label": "x", "url": "https://example.org/\x00"}]}, ["input", "links", "0"]),
        ({"links": [{"label": "x", "url": "https://"}]}, ["input", "links", "0"]),
        ({"links": [{"label": "x", "url": "https://example.org"}] * 6}, ["input", "links"]),
    ],
)
async def test_a_bad_value_is_told_with_its_path_and_changes_nothing(
    people: People, fields: dict[str, object], path: list[str]
) -> None:
    version = await version_of(people.new)
    payload = await change_profile(people.new, **{"bio": "changed", **fields})
    assert payload["user"] is None
    assert [(error["code"], error["path"]) for error in payload["userErrors"]] == [("INVALID_VALUE", path)]
    assert await version_of(people.new) == version


async def test_the_longest_values_are_taken(people: People) -> None:
    one = people.take()
    url = "https://example.org/" + "x" * 480
    links = [{"label": "l" * 40, "url": url}] * 5
    payload = await change_profile(one, displayName="\U0001f600" * 50, bio="x" * 500, avatarUrl=url, links=links)
    assert payload["userErrors"] == []
    assert payload["user"]["links"] == links


async def test_a_link_s_address_has_a_longest_length(people: People) -> None:
    one = people.take()
    links = [{"label": "l", "url": "https://example.org/" + "x" * 60_000}]
    payload = await change_profile(one, links=links)
    assert [error["path"] for error in payload["userErrors"]] == [["input", "links", "0"]]


@pytest.mark.parametrize("field", ["role", "isAdmin", "followersCount", "createdAt"])
async def test_fields_that_are_not_in_the_schema_cannot_be_set(people: People, field: str) -> None:
    answer = await people.new.post(PROFILE, "application/graphql-response+json", input={"bio": "x", field: 1})
    assert (answer.status, answer.codes) == (400, ["BAD_USER_INPUT"])


async def test_a_privacy_setting_shows_to_others_at_once(people: People) -> None:
    one, other = people.take(), people.take()
    await change_profile(one, bio="hello")
    document = "query($id: ID!) { user(id: $id) { bio isPrivate followersCount followers(first: 1) { totalCount } } }"
    await other.follow(one)
    open_view = {"bio": "hello", "isPrivate": False, "followersCount": 1, "followers": {"totalCount": 1}}
    assert (await people.ana.ask(document, id=one.id))["user"] == open_view
    audiences = [{"group": group, "audience": "FOLLOWERS"} for group in ("BIO", "FOLLOWERS_LIST", "COUNTS")]
    payload = await change_privacy(one, audiences=audiences)
    assert payload["userErrors"] == []
    hidden = {"bio": None, "isPrivate": False, "followersCount": None, "followers": None}
    assert (await people.ana.ask(document, id=one.id))["user"] == hidden
    assert (await people.anonymous.ask(document, id=one.id))["user"] == hidden
    assert (await other.ask(document, id=one.id))["user"] == open_view
    await change_privacy(one, deny=[other.id])
    assert (await other.ask(document, id=one.id))["user"] == hidden
    await change_privacy(one, deny=[], isPrivate=True)
    assert (await other.ask(document, id=one.id))["user"] == open_view | {"isPrivate": True}


async def test_the_allowed_see_what_others_do_not(people: People) -> None:
    one, other = people.take(), people.take()
    await change_profile(one, bio="hello")
    await change_privacy(one, audiences=[{"group": "BIO", "audience": "MUTUALS"}], allow=[other.id])
    document = "query($id: ID!) { user(id: $id) { bio } }"
    assert (await other.ask(document, id=one.id))["user"]["bio"] == "hello"
    assert (await people.eve.ask(document, id=one.id))["user"]["bio"] is None
    await change_privacy(one, audiences=[{"group": "BIO", "audience": "ONLY_ME"}])
    assert (await other.ask(document, id=one.id))["user"]["bio"] is None


async def test_listing_who_is_not_there_is_told_the_same_for_blocked_and_unknown(people: People) -> None:
    answers = [
        await people.ana.post(PRIVACY, input={"allow": [id_]}) for id_ in (people.dee.id, people.nobody, people.gone.id)
    ]
    assert len({answer.body for answer in answers}) == 1
    [error] = answers[0].json["data"]["updatePrivacySettings"]["userErrors"]
    assert (error["code"], error["path"]) == ("USER_UNAVAILABLE", ["input", "allow", "0"])


async def test_a_mutation_s_payload_shows_what_the_mutation_did(people: People) -> None:
    one, other = people.take(), people.take()
    data = await one.ask(
        """mutation($id: ID!) {
          a: followUser(input: {userId: $id}) { user { viewerFollowState followersCount } }
          b: unfollowUser(input: {userId: $id}) { user { viewerFollowState followersCount } }
          c: followUser(input: {userId: $id}) { user { viewerFollowState followersCount } }
          d: blockUser(input: {userId: $id}) { user { viewerFollowState viewerHasBlocked } }
        }""",
        id=other.id,
    )
    followed, not_followed = [
        {"user": {"viewerFollowState": state, "followersCount": count}} for state, count in (("ACTIVE", 1), ("NONE", 0))
    ]
    assert (data["a"], data["b"], data["c"]) == (followed, not_followed, followed)
    assert data["d"]["user"] == {"viewerFollowState": "NONE", "viewerHasBlocked": True}
