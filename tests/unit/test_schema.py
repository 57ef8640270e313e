"""The schema: committed as it is, every field of a person decided about, every way to a person known."""

import pytest
from graphql import (
    GraphQLObjectType,
    get_named_type,
    is_interface_type,
    is_object_type,
)
from strawberry.types.base import StrawberryObjectDefinition

from schema.fields import Protected
from schema.schema import SCHEMA, SDL_PATH, sdl

OPEN = {
    "id": "the stub",
    "username": "the stub",
    "displayName": "the stub",
    "avatarUrl": "the stub",
    "isPrivate": "the stub",
    "isViewer": "the viewer's own affair",
    "viewerIsFollowing": "the viewer's own affair",
    "isFollowingViewer": "the viewer's own affair",
    "viewerFollowState": "the viewer's own affair",
    "viewerCanFollow": "the viewer's own affair",
    "viewerHasBlocked": "the viewer's own affair",
    "viewerHasMuted": "the viewer's own affair",
    "profileVersion": "null for everybody but the person",
}
"""The fields of a person that need no field group, and why."""

DOORS = {
    "Query.me",
    "Query.user",
    "Query.users",
    "Query.node",
    "Query.nodes",
    "Viewer.user",
    "Viewer.viewAs",
    "AuditEntry.target",
    "FollowerConnection.nodes",
    "FollowerEdge.node",
    "FollowNotification.actor",
    "FollowRequestNotification.actor",
    "FollowRequestAcceptedNotification.actor",
    "NotificationGroup.actors",
    "Notification.actor",
    "FollowUserPayload.user",
    "UnfollowUserPayload.user",
    "BlockUserPayload.user",
    "UnblockUserPayload.user",
    "RemoveFollowerPayload.user",
    "AcceptFollowRequestPayload.user",
    "RejectFollowRequestPayload.user",
    "CancelFollowRequestPayload.user",
    "MuteUserPayload.user",
    "UnmuteUserPayload.user",
    "UpdateProfilePayload.user",
    "UpdatePrivacySettingsPayload.user",
    "RestoreAccountPayload.user",
    "ChangeUsernamePayload.user",
    "RemoveFormerUsernamesPayload.user",
}
"""Every field that leads to a person; each goes through the gate, and acceptance tests try each with a hidden one."""


def test_the_committed_schema_is_what_the_code_says() -> None:
    assert SDL_PATH.read_text() == sdl()


def test_every_field_of_a_person_names_its_group_or_is_open_for_a_reason() -> None:
    user = SCHEMA._schema.type_map["User"]
    assert isinstance(user, GraphQLObjectType)
    undecided = {
        name
        for name, field in user.fields.items()
        if not any(
            isinstance(extension, Protected) for extension in field.extensions["strawberry-definition"].extensions
        )
    }
    assert undecided == set(OPEN)


def test_every_way_to_a_person_is_known() -> None:
    ways = set()
    for name, kind in SCHEMA._schema.type_map.items():
        if name.startswith("__") or not (is_object_type(kind) or is_interface_type(kind)):
            continue
        for field_name, field in kind.fields.items():
            if get_named_type(field.type).name in ("User", "Node"):
                ways.add(f"{name}.{field_name}")
    assert ways == DOORS


@pytest.mark.parametrize("root", ["Query", "Mutation"])
def test_every_root_field_says_which_tokens_it_is_for(root: str) -> None:
    definition = SCHEMA.get_type_by_name(root)
    assert isinstance(definition, StrawberryObjectDefinition)
    sources = {field.name: field.metadata["source"] for field in definition.fields}
    assert [name for name, source in sources.items() if not hasattr(source.function, "scope")] == []


def test_no_field_tells_a_viewer_that_he_is_blocked() -> None:
    user = SCHEMA._schema.type_map["User"]
    assert isinstance(user, GraphQLObjectType)
    assert [name for name in user.fields if "block" in name.lower()] == ["viewerHasBlocked"]


def test_protected_fields_can_be_null() -> None:
    user = SCHEMA._schema.type_map["User"]
    assert isinstance(user, GraphQLObjectType)
    assert [name for name in user.fields if name not in OPEN and str(user.fields[name].type).endswith("!")] == []
