"""What a person was told, read by a client over HTTP, on one cell and on two."""

from typing import Final

import pytest

from tests.acceptance.people import Data, People, Person, Refused
from tests.conftest import eventually

TOLD: Final = """
query Told($unread: Boolean = false, $filtered: Boolean = false, $first: Int = 20, $after: String) {
  viewer {
    unreadNotificationsCount
    notifications(first: $first, after: $after, unreadOnly: $unread, filtered: $filtered) {
      pageInfo { hasNextPage endCursor }
      nodes { id __typename }
      edges {
        cursor
        node { __typename id cursor kind createdAt readAt actor { username } }
        group {
          id kind count unreadCount actors { username }
          notifications(first: 10) { nodes { id readAt actor { username } } pageInfo { hasNextPage } }
        }
      }
    }
  }
}
"""
MARK: Final = """
mutation Mark($input: MarkNotificationsReadInput!) {
  markNotificationsRead(input: $input) {
    clientMutationId unreadNotificationsCount consistencyToken userErrors { code } groups { id unreadCount }
  }
}
"""
PREFER: Final = """
mutation Prefer($input: UpdateNotificationPreferencesInput!) {
  updateNotificationPreferences(input: $input) {
    clientMutationId consistencyToken userErrors { code path }
    notificationPreferences { followed strangers newAccounts newAccountDays }
  }
}
"""


async def told(person: Person, **variables: object) -> Data:
    viewer: Data = (await person.ask(TOLD, **variables))["viewer"]
    return viewer


async def until_told(person: Person, number: int, *, filtered: bool = False) -> Data:
    """Wait until a person was told of so many in all."""

    async def is_so() -> bool:
        edges = (await told(person, filtered=filtered))["notifications"]["edges"]
        return bool(sum(edge["group"]["count"] for edge in edges) == number)

    await eventually(is_so)
    return await told(person, filtered=filtered)


async def mark(person: Person, **fields: object) -> Data:
    payload: Data = (await person.ask(MARK, input=fields))["markNotificationsRead"]
    return payload


async def prefer(person: Person, **fields: object) -> Data:
    payload: Data = (await person.ask(PREFER, input=fields))["updateNotificationPreferences"]
    return payload


async def test_followers_come_as_one_group_that_can_be_opened_and_read(people: People) -> None:
    owner, fans = people.take(), [people.take() for _ in range(4)]
    for fan in fans:
        await fan.follow(owner)
    viewer = await until_told(owner, 4)
    [edge] = viewer["notifications"]["edges"]
    group, names = edge["group"], {fan.name for fan in fans}
    assert (group["kind"], group["count"], group["unreadCount"]) == ("FOLLOW", 4, 4)
    assert len(group["actors"]) == 3
    assert {node["actor"]["username"] for node in group["notifications"]["nodes"]} == names
    assert edge["node"]["actor"] == group["actors"][0]
    assert (edge["node"]["__typename"], viewer["unreadNotificationsCount"]) == ("FollowNotification", 4)
    for _ in range(2):
        payload = await mark(owner, upTo=edge["node"]["cursor"], clientMutationId="m")
        assert (payload["clientMutationId"], payload["unreadNotificationsCount"]) == ("m", 0)
        assert (payload["groups"], payload["userErrors"]) == ([{"id": group["id"], "unreadCount": 0}], [])
    viewer = await told(owner)
    assert viewer["notifications"]["edges"][0]["node"]["readAt"] is not None
    assert (await told(owner, unread=True))["notifications"]["edges"] == []


async def test_requests_and_acceptances_are_told_with_types_of_their_own(people: People) -> None:
    owner, fan = people.take(), people.take()
    document = "mutation($input: UpdatePrivacySettingsInput!) { updatePrivacySettings(input: $input) { user { id } } }"
    await owner.ask(document, input={"isPrivate": True})
    await fan.follow(owner)
    [asked] = (await until_told(owner, 1))["notifications"]["nodes"]
    assert asked["__typename"] == "FollowRequestNotification"
    await owner.act("acceptFollowRequest", userId=fan.id)
    [accepted] = (await until_told(fan, 1))["notifications"]["nodes"]
    assert accepted["__typename"] == "FollowRequestAcceptedNotification"

    async def followed() -> bool:
        return [n["__typename"] for n in (await told(owner))["notifications"]["nodes"]] == ["FollowNotification"]

    await eventually(followed)


async def test_a_notification_and_a_group_are_read_by_id_and_those_of_others_are_refused(people: People) -> None:
    owner, fans = people.take(), [people.take() for _ in range(3)]
    for fan in fans:
        await fan.follow(owner)
    [edge] = (await until_told(owner, 3))["notifications"]["edges"]
    assert (await mark(owner, ids=[edge["node"]["id"]]))["unreadNotificationsCount"] == 2
    assert (await mark(owner, ids=[edge["group"]["id"]]))["unreadNotificationsCount"] == 0
    for fields in ({"ids": [edge["group"]["id"]]}, {"upTo": edge["node"]["cursor"]}, {}):
        with pytest.raises(Refused) as refused:
            await mark(fans[0], **fields)
        assert refused.value.code == "BAD_USER_INPUT"
    with pytest.raises(Refused) as refused:
        await mark(people.anonymous, ids=[])
    assert refused.value.code == "UNAUTHENTICATED"


async def test_whoever_is_blocked_or_blocks_is_gone_from_what_was_told_for_good(people: People) -> None:
    owner, blocked, blocker, friend = (people.take() for _ in range(4))
    for fan in (blocked, blocker, friend):
        await fan.follow(owner)
    await until_told(owner, 3)
    await owner.act("blockUser", userId=blocked.id)
    await blocker.act("blockUser", userId=owner.id)
    for _ in range(2):
        viewer = await told(owner)
        [edge] = viewer["notifications"]["edges"]
        assert (edge["group"]["count"], viewer["unreadNotificationsCount"]) == (1, 1)
        assert [node["actor"]["username"] for node in edge["group"]["notifications"]["nodes"]] == [friend.name]
        await owner.act("unblockUser", userId=blocked.id)
        await blocker.act("unblockUser", userId=owner.id)


async def test_what_strangers_do_is_kept_apart_or_dropped_at_will(people: People) -> None:
    owner, known, stranger, nobody = (people.take() for _ in range(4))
    await owner.follow(known)
    payload = await prefer(owner, strangers="FILTER", newAccountDays=3)
    expected = {"followed": "ACCEPT", "strangers": "FILTER", "newAccounts": "ACCEPT", "newAccountDays": 3}
    assert (payload["notificationPreferences"], payload["userErrors"]) == (expected, [])
    await stranger.follow(owner)
    viewer = await until_told(owner, 1, filtered=True)
    assert viewer["unreadNotificationsCount"] == 0
    assert viewer["notifications"]["edges"][0]["node"]["actor"]["username"] == stranger.name
    await prefer(owner, strangers="DROP")
    await nobody.follow(owner)
    await known.follow(owner)
    await until_told(owner, 1)
    await until_told(owner, 1, filtered=True)
    refused = await prefer(owner, newAccountDays=0)
    assert refused["userErrors"] == [{"code": "INVALID_VALUE", "path": ["input", "newAccountDays"]}]
    assert refused["notificationPreferences"] is None


async def test_pages_of_groups_end_and_their_cursors_serve_nobody_else(people: People) -> None:
    owner, fans = people.take(), [people.take() for _ in range(2)]
    for fan in fans:
        await fan.follow(owner)

        async def unread() -> bool:
            return bool((await told(owner))["unreadNotificationsCount"] == 1)

        await eventually(unread)
        [edge] = (await told(owner, unread=True))["notifications"]["edges"]
        await mark(owner, upTo=edge["node"]["cursor"])
    one = (await told(owner, first=1))["notifications"]
    two = (await told(owner, first=1, after=one["pageInfo"]["endCursor"]))["notifications"]
    names = [page["edges"][0]["node"]["actor"]["username"] for page in (one, two)]
    assert (names, one["pageInfo"]["hasNextPage"]) == ([fans[1].name, fans[0].name], True)
    assert not two["pageInfo"]["hasNextPage"]
    with pytest.raises(Refused) as refused:
        await told(fans[0], after=one["pageInfo"]["endCursor"])
    assert refused.value.code == "BAD_USER_INPUT"
