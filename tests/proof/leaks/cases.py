"""How each edge is asked: its arguments, aimed at the targets or at others in whose lists the targets stand."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tests.proof.leaks.worlds import World

Arguments = Callable[[World], str]
"""The arguments of a field as they stand in a document, for a world."""

PAGE: Final = "(first: 10)"


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """The arguments with which a field is tried; `names` lists which of them name a target.

    `writes` marks what would change the world if the target could be met, `while_blocking` what changes nothing only
    where the viewer blocks somebody.
    """

    aimed: Mapping[str, Arguments] = dataclasses.field(default_factory=dict)
    around: Sequence[Arguments] = ()
    around_while_blocking: Sequence[Arguments] = ()
    writes: bool = False


def by_id(argument: str, name: str) -> Arguments:
    return lambda world: f"({argument}: {_text(world[name].opaque_id)})"


def by_ids(argument: str, *names: str) -> Arguments:
    return lambda world: f"({argument}: [{', '.join(_text(world[name].opaque_id) for name in names)}])"


def by_name(argument: str, name: str) -> Arguments:
    return lambda world: f"({argument}: {_text(world[name].name)})"


def by_names(argument: str, *names: str) -> Arguments:
    return lambda world: f"({argument}: [{', '.join(_text(world[name].name) for name in names)}])"


def as_input(field: str, name: str) -> Arguments:
    return lambda world: f"(input: {{{field}: {_text(world[name].opaque_id)}}})"


def as_inputs(field: str, name: str) -> Arguments:
    return lambda world: f"(input: {{{field}: [{_text(world[name].opaque_id)}]}})"


def plainly(text: str) -> Arguments:
    return lambda _world: text


def _text(value: str) -> str:
    return json.dumps(value)


def acting(around: str | None, *, writes: bool = True, while_blocking: str | None = None) -> Case:
    """Give the case of a mutation that takes `userId`; on those `around` it changes nothing."""
    return Case(
        aimed={"input.userId": as_input("userId", "friend"), "input.userId of the other": as_input("userId", "asker")},
        around=[as_input("userId", around)] if around is not None else [],
        around_while_blocking=[as_input("userId", while_blocking)] if while_blocking is not None else [],
        writes=writes,
    )


_ALONE: Final = Case(around=[plainly("")])
_RESUMED: Final = Case(around=[lambda world: f"(after: {_text(world.cursor)})"])
_LIST: Final = Case(around=[plainly(PAGE)])

CASES: Final[Mapping[str, Case]] = {
    "Query.me": _ALONE,
    "Query.viewer": _ALONE,
    "Query.user": Case(
        aimed={
            "id": by_id("id", "friend"),
            "username": by_name("username", "friend"),
            "id of the other": by_id("id", "asker"),
        },
        around=[by_id("id", "ana"), by_name("username", "star")],
    ),
    "Query.users": Case(
        aimed={
            "ids": by_ids("ids", "friend", "asker"),
            "usernames": by_names("usernames", "asker", "friend"),
        },
        around=[by_ids("ids", "ana", "friend", "star"), by_names("usernames", "star", "asker", "ana")],
    ),
    "Query.node": Case(aimed={"id": by_id("id", "friend")}, around=[by_id("id", "ana")]),
    "Query.nodes": Case(
        aimed={"ids": by_ids("ids", "friend", "friend")}, around=[by_ids("ids", "star", "asker", "ana")]
    ),
    "Viewer.user": _ALONE,
    "Viewer.followRequests": _LIST,
    "Viewer.sentFollowRequests": _LIST,
    "Viewer.blocks": _LIST,
    "Viewer.mutes": _LIST,
    "Viewer.viewAs": Case(
        aimed={"userId": by_id("userId", "friend"), "userId of the other": by_id("userId", "asker")},
        around=[plainly("(audience: PUBLIC)"), plainly("(audience: FOLLOWERS)"), by_id("userId", "ana")],
    ),
    "Viewer.privacyExplain": Case(
        aimed={
            "userId": lambda world: f"(userId: {_text(world['friend'].opaque_id)}, group: BIO)",
            "userId of the other": lambda world: f"(userId: {_text(world['asker'].opaque_id)}, group: COUNTS)",
        },
        around=[lambda world: f"(userId: {_text(world['star'].opaque_id)}, group: BIO)"],
    ),
    "User.followers": _LIST,
    "User.following": _LIST,
    "User.mutualFollowers": _LIST,
    "FollowerConnection.nodes": _ALONE,
    "FollowerConnection.edges": _ALONE,
    "FollowerEdge.node": _ALONE,
    "Mutation.followUser": acting("ana"),
    "Mutation.unfollowUser": acting("star"),
    "Mutation.blockUser": acting(None, while_blocking="flo"),
    "Mutation.unblockUser": acting("star"),
    "Mutation.removeFollower": acting("star"),
    "Mutation.acceptFollowRequest": acting("ana"),
    "Mutation.rejectFollowRequest": acting("star"),
    "Mutation.cancelFollowRequest": acting("star"),
    "Mutation.muteUser": acting("ana"),
    "Mutation.unmuteUser": acting("star"),
    "Query.usernameAvailability": Case(),
    "Mutation.changeUsername": Case(around=[lambda world: f"(input: {{username: {_text(world['viewer'].name)}}})"]),
    "Mutation.removeFormerUsernames": Case(around=[plainly("(input: {})")]),
    "Mutation.signOut": Case(),  # it leads to nobody, and ends the token that asks
    "Mutation.updateProfile": Case(around=[plainly("(input: {})")]),
    "Mutation.updatePrivacySettings": Case(
        aimed={"input.allow": as_inputs("allow", "friend"), "input.deny": as_inputs("deny", "asker")},
        around=[plainly("(input: {isPrivate: false})")],
        writes=True,
    ),
    "Subscription.followReceived": _RESUMED,
    "Subscription.followRequestReceived": _RESUMED,
    "Subscription.followRequestAccepted": _RESUMED,
    "Subscription.notificationReceived": _RESUMED,
    "FollowNotification.actor": _ALONE,
    "FollowRequestNotification.actor": _ALONE,
    "FollowRequestAcceptedNotification.actor": _ALONE,
    "Viewer.notifications": Case(around=[plainly(PAGE), plainly("(last: 3, unreadOnly: true)")]),
    "Viewer.auditLog": Case(around=[plainly(PAGE), plainly("(last: 3)")]),
    "RecordConsentPayload.consent": _ALONE,
    "AuditConnection.edges": _ALONE,
    "AuditConnection.nodes": _ALONE,
    "AuditEdge.node": _ALONE,
    "AuditEntry.target": _ALONE,
    "NotificationConnection.edges": _ALONE,
    "NotificationConnection.nodes": _ALONE,
    "NotificationEdge.node": _ALONE,
    "NotificationEdge.group": _ALONE,
    "NotificationGroup.actors": _ALONE,
    "NotificationGroup.notifications": Case(around=[plainly("(first: 3)")]),
    "NotificationMemberConnection.nodes": _ALONE,
    "Mutation.markNotificationsRead": Case(
        aimed={"input.ids": lambda world: f"(input: {{ids: {json.dumps(world.notification_ids)}}})"},
        around=[lambda world: f"(input: {{upTo: {_text(world.cursor)}}})"],
        writes=True,
    ),
    "MarkNotificationsReadPayload.groups": _ALONE,
    "Mutation.deleteAccount": Case(around=[plainly('(input: {confirmation: ""})')]),
    "Mutation.recordConsent": Case(
        around=[plainly('(input: {purpose: MARKETING, version: "1", granted: true})')], writes=True
    ),
    "Mutation.setDataSharing": Case(around=[plainly("(input: {optedOut: true})")], writes=True),
    "Mutation.requestDataExport": Case(around=[plainly("(input: {})")], writes=True),
    "Mutation.restoreAccount": Case(around=[plainly("(input: {})")]),
    "Mutation.updateNotificationPreferences": Case(around=[plainly("(input: {})")]),
    **{
        f"{name}Payload.user": _ALONE
        for name in (
            "FollowUser UnfollowUser BlockUser UnblockUser RemoveFollower AcceptFollowRequest RejectFollowRequest "
            "CancelFollowRequest MuteUser UnmuteUser UpdateProfile UpdatePrivacySettings "
            "RestoreAccount ChangeUsername RemoveFormerUsernames"
        ).split()
    },
}
"""Every edge on a path to a person, and every other field that asks about one. What is missing here fails the build."""

ABOUT_NAMES: Final = frozenset({"Query.usernameAvailability(username)", "Mutation.changeUsername(input.username)"})
"""Arguments that name no person but a name: whose it is, and why it cannot be had, is not told to anybody."""

ROUTES: Final = {
    ("POST", "/graphql"): "all doors, by test_doors",
    ("GET", "/graphql"): "the queries, by test_doors; the socket is another way to the same doors",
    ("GET", "/graphql/assets/{name}"): "files of the explorer page",
    ("GET", "/.well-known/gpc.json"): "says the same to everybody",
    ("GET", "/healthz"): "says nothing of people",
    ("GET", "/v1/users/me"): "the viewer alone",
    ("GET", "/v1/users/{username}"): "by the doors of REST",
    ("POST", "/v1/social/follow/{id}"): "by the doors of REST",
    ("DELETE", "/v1/social/follow/{id}"): "by the doors of REST",
    ("POST", "/v1/social/block/{id}"): "by the doors of REST",
    ("DELETE", "/v1/social/block/{id}"): "by the doors of REST",
    ("GET", "/v1/openapi.json"): "a file",
    ("GET", "/v1/exports/{token}"): "the viewer's own archive, under a signed link",
    ("GET", "/readyz"): "says nothing of people",
    ("GET", "/metrics"): "figures without names, by test_canaries",
    ("GET", "/debug/memory"): "kinds, keys and digests, in development alone",
}
"""Every address of the service; one that leads to people needs doors of its own."""
