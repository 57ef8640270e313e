"""Every kind of viewer, setting and way to a person; and every field group, viewer and audience. Over HTTP."""

import asyncio
import datetime as dt
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from graphql import GraphQLObjectType

from domain.policies import FieldGroup
from domain.relationships import FollowState, Relationship
from privacy.policy import decide_group, see
from privacy.rules import Question
from schema.fields import Protected
from schema.schema import SCHEMA
from storage.users import fetch_users
from tests.proof.leaks.crowd import Member, Viewers, make_target, make_viewers
from tests.proof.leaks.model import FIELDS, FOLLOWERS, GROUPS, SETTINGS, SPREAD, VIEWERS, Setting, meets, sees
from tests.proof.leaks.service import Asker, Service

SHOWN = """{ id username displayName isPrivate bio pronouns createdAt location email phone birthDate links { label url }
  followersCount followingCount followers(first: 1) { totalCount } following(first: 1) { totalCount }
  mutualFollowers(first: 1) { totalCount } }"""
LISTED = "(first: 100)"
KINDS = VIEWERS[:9]
AT_ONCE = 4

Ask = Callable[[Member, Member], str]
"""(target, third person) to a document."""


def pick(data: Any, *way: str) -> Any:
    """Walk into an answer; of a list every entry."""
    for name in way:
        data = [entry and entry[name] for entry in data] if isinstance(data, list) else data and data[name]
    return data


def by_list(name: str) -> Ask:
    return lambda _target, third: f'{{ user(id: "{third.opaque_id}") {{ {name} }} }}'


PATHS: Mapping[str, tuple[Ask, tuple[str, ...], frozenset[str]]] = {
    "user by id": (lambda t, _: f'{{ user(id: "{t.opaque_id}") {SHOWN} }}', ("user",), frozenset(KINDS)),
    "user by name": (lambda t, _: f'{{ user(username: "{t.name}") {SHOWN} }}', ("user",), frozenset(KINDS)),
    "users by ids": (lambda t, _: f'{{ users(ids: ["{t.opaque_id}"]) {SHOWN} }}', ("users",), frozenset(KINDS)),
    "users by names": (lambda t, _: f'{{ users(usernames: ["{t.name}"]) {SHOWN} }}', ("users",), frozenset(KINDS)),
    "node": (lambda t, _: f'{{ node(id: "{t.opaque_id}") {{ ... on User {SHOWN} }} }}', ("node",), frozenset(KINDS)),
    "nodes": (
        lambda t, _: f'{{ nodes(ids: ["{t.opaque_id}"]) {{ ... on User {SHOWN} }} }}',
        ("nodes",),
        frozenset(KINDS),
    ),
    "followers of a third": (
        by_list(f"followers{LISTED} {{ nodes {SHOWN} }}"),
        ("user", "followers", "nodes"),
        frozenset(KINDS),
    ),
    "following of a third": (
        by_list(f"following{LISTED} {{ edges {{ node {SHOWN} }} }}"),
        ("user", "following", "edges", "node"),
        frozenset(KINDS),
    ),
    "mutual followers of a third": (
        by_list(f"mutualFollowers{LISTED} {{ nodes {SHOWN} }}"),
        ("user", "mutualFollowers", "nodes"),
        FOLLOWERS,
    ),
    "own following": (
        lambda _t, _: f"{{ me {{ following{LISTED} {{ nodes {SHOWN} }} }} }}",
        ("me", "following", "nodes"),
        FOLLOWERS,
    ),
    "own mutes": (
        lambda _t, _: f"{{ viewer {{ mutes{LISTED} {{ edges {{ node {SHOWN} }} }} }} }}",
        ("viewer", "mutes", "edges", "node"),
        frozenset(KINDS) - {"self", "anonymous"},
    ),
    "a payload": (
        lambda t, _: f'mutation {{ rejectFollowRequest(input: {{userId: "{t.opaque_id}"}}) {{ user {SHOWN} }} }}',
        ("rejectFollowRequest", "user"),
        frozenset(KINDS) - {"self", "anonymous"},
    ),
}
"""Twelve ways to a person, where the person stands in the answer, and for which viewers the way leads there."""


@pytest.fixture(scope="module")
async def viewers(service: Service) -> Viewers:
    return await make_viewers(service)


@pytest.fixture(scope="module")
async def targets(viewers: Viewers) -> dict[str, Member]:
    return {name: await make_target(viewers, setting, n) for n, (name, setting) in enumerate(SETTINGS.items())}


@pytest.fixture(scope="module")
async def spread(viewers: Viewers) -> list[Member]:
    return [await make_target(viewers, setting, n) for n, setting in enumerate(SPREAD)]


def test_the_model_knows_every_group_that_has_fields() -> None:
    user = SCHEMA._schema.type_map["User"]
    assert isinstance(user, GraphQLObjectType)
    groups: dict[str, set[str]] = {}
    for name, field in user.fields.items():
        for extension in field.extensions["strawberry-definition"].extensions:
            if isinstance(extension, Protected):
                groups.setdefault(extension.group.value, set()).add(name)
    assert groups == {group: set(fields) for group, fields in FIELDS.items()}


def test_the_matrix_is_whole() -> None:
    assert set(GROUPS) == {group.value for group in FieldGroup}
    assert (len(KINDS), len(SETTINGS), len(PATHS)) == (9, 4, 12)


@pytest.mark.parametrize("setting", SETTINGS)
async def test_each_way_shows_each_viewer_what_the_model_says(
    viewers: Viewers, targets: dict[str, Member], setting: str
) -> None:
    target, gate = targets[setting], asyncio.Semaphore(AT_ONCE)

    async def found(viewer: str, path: str) -> frozenset[str] | None:
        ask, way, _ = PATHS[path]
        async with gate:
            answer = await viewers.asker(viewer, target).post(ask(target, viewers.third))
        return shown_in(answer.data["data"], way, target)

    cells = list(itertools.product(KINDS, PATHS))
    results = await asyncio.gather(*(found(viewer, path) for viewer, path in cells))
    wrong = [
        (viewer, path, result)
        for (viewer, path), result in zip(cells, results, strict=True)
        if result != expected(viewer, SETTINGS[setting], leads=viewer in PATHS[path][2])
    ]
    assert len(cells) == len(KINDS) * len(PATHS)
    assert wrong == []


def shown_in(data: Any, way: tuple[str, ...], target: Member) -> frozenset[str] | None:
    """Give the groups that show of the target, None where the target is not there, which the answer must be void of."""
    people = pick(data, *way)
    people = people if isinstance(people, list) else [people]
    for person in people:
        if person is not None and person["id"] == target.opaque_id:
            return groups_of(person)
    assert target.opaque_id not in str(data)
    return None


def groups_of(person: dict[str, Any]) -> frozenset[str]:
    shown = {group for group, fields in FIELDS.items() if any(person[field] is not None for field in fields)}
    whole = {group for group, fields in FIELDS.items() if all(person[field] is not None for field in fields)}
    assert shown == whole, person
    return frozenset(shown)


def expected(viewer: str, setting: Setting, *, leads: bool) -> frozenset[str] | None:
    if not leads or not meets(viewer):
        return None
    return frozenset(group for group in FIELDS if sees(viewer, setting, group))


RELATIONS = {
    "mutual": Relationship(follows=FollowState.ACTIVE, followed_by=FollowState.ACTIVE),
    "follower": Relationship(follows=FollowState.ACTIVE),
    "requested": Relationship(follows=FollowState.PENDING),
    "followed": Relationship(followed_by=FollowState.ACTIVE),
    "blocked": Relationship(blocked_by=True),
    "blocking": Relationship(blocks=True),
}


async def test_every_group_viewer_and_audience_agree_in_model_engine_and_answers(
    service: Service, viewers: Viewers, spread: list[Member]
) -> None:
    users = await fetch_users(service.database, [target.id for target in spread])
    wrong, compared = [], 0
    for (setting, target), viewer in itertools.product(zip(SPREAD, spread, strict=True), VIEWERS):
        answered = await groups_over_http(viewers.asker(viewer, target), target)
        viewer_id = target.id if viewer == "self" else viewers.members[viewer].id if viewer != "anonymous" else None
        relationship = RELATIONS.get(viewer, Relationship())
        question = Question(viewer_id, users[target.id], relationship, dt.datetime.now(dt.UTC))
        met = see(viewer_id, question.target, relationship, question.now) is not None
        for group in FIELDS:
            said = (
                sees(viewer, setting, group),
                met and decide_group(question, FieldGroup(group)).allowed,
                answered is not None and group in answered,
            )
            compared += 1
            if len(set(said)) > 1 or met != (answered is not None):
                wrong.append((viewer, setting.is_private, group, setting.audiences[group], said))
    assert wrong == []
    assert compared == len(SPREAD) * len(VIEWERS) * len(FIELDS)


async def groups_over_http(asker: Asker, target: Member) -> frozenset[str] | None:
    person = (await asker.post(f'{{ user(id: "{target.opaque_id}") {SHOWN} }}')).data["data"]["user"]
    return groups_of(person) if person is not None else None


async def test_the_owner_is_told_of_every_group_viewer_and_audience_what_the_model_says(
    viewers: Viewers, spread: list[Member]
) -> None:
    wrong = []
    for (setting, target), viewer in itertools.product(zip(SPREAD, spread, strict=True), VIEWERS):
        if viewer == "anonymous":  # has no id to ask about
            continue
        person = target if viewer == "self" else viewers.members[viewer]
        told = await explained_over_http(viewers.asker("self", target), person)
        said = {group: sees(viewer, setting, group) for group in GROUPS} if viewer != "blocking" else None
        if told != said:
            wrong.append((viewer, setting, told))
    assert wrong == []


async def explained_over_http(owner: Asker, person: Member) -> dict[str, bool] | None:
    """Ask whether a person sees each group of the owner's fields; None where nobody is there."""
    asked = " ".join(
        f'{group}: privacyExplain(userId: "{person.opaque_id}", group: {group}) {{ allowed rule }}' for group in GROUPS
    )
    told = (await owner.post(f"{{ viewer {{ {asked} }} }}")).data["data"]["viewer"]
    assert all(decision is None or decision["rule"] for decision in told.values())
    if None in told.values():
        assert set(map(str, told.values())) == {"None"}
        return None
    return {group: decision["allowed"] for group, decision in told.items()}
