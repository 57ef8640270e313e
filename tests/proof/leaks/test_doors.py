"""No door tells a hidden person from one who never existed, and no new door is left out."""

import dataclasses
import re
import sys
from collections.abc import Sequence

import pytest
from graphql import extend_schema, parse

from schema.schema import SCHEMA
from tests.proof.leaks.cases import ROUTES
from tests.proof.leaks.conftest import LONG
from tests.proof.leaks.doors import CaseMissing, Door, Doors, missing_cases, rest_doors, stale_cases, walks
from tests.proof.leaks.leaks import LEAKS
from tests.proof.leaks.paths import Walker
from tests.proof.leaks.service import Answer, Service
from tests.proof.leaks.walker import (
    EXPERIMENTS,
    KNOWN,
    SHORT,
    Difference,
    Tries,
    go_on,
    prepare,
    report_of,
    run,
    try_all,
)
from tests.proof.leaks.worlds import TARGETS, World, hide_by_block
from tests.unit.test_schema import DOORS
from transport.app import make_app

EXPECTED_PATHS = 196
"""Fewer may be only where the schema has lost doors on purpose."""

WALKS = [*(walks((1, 2, 3)) if LONG else walks((2,))[::2]), *rest_doors()]


@pytest.fixture(scope="module")
def doors() -> Doors:
    return Doors(SCHEMA._schema)


def test_every_path_to_a_person_has_a_case() -> None:
    assert missing_cases(SCHEMA._schema) == []
    assert stale_cases(SCHEMA._schema) == []


def test_every_known_door_lies_on_a_path(doors: Doors) -> None:
    on_paths = {str(edge) for path in doors.paths for edge in path.edges}
    assert len(doors.paths) >= EXPECTED_PATHS
    assert DOORS - on_paths == {"Notification.actor"}  # an interface: its types are on paths
    walked = {path for door in doors.all(while_blocking=True) for path in door.paths}
    assert walked == set(doors.paths)


@pytest.mark.parametrize(
    ("extension", "missing"),
    [
        ("extend type Query { stranger: User }", "Query.stranger"),
        ("type Club { head: User! } extend type Viewer { clubs: [Club!]! }", "Club.head"),
        ("extend type User { closest: [Node!] }", "User.closest"),
        ("extend type Query { isFree(username: String): Boolean }", "Query.isFree(username)"),
        ("extend input MuteUserInput { alsoId: ID }", "Mutation.muteUser(input.alsoId)"),
        ("extend type Viewer { rank(of: Int!): Int }", "Viewer.rank"),
    ],
)
def test_a_new_path_without_a_case_is_refused(extension: str, missing: str) -> None:
    extended = extend_schema(SCHEMA._schema, parse(extension))
    assert missing in missing_cases(extended)
    with pytest.raises(CaseMissing):
        Doors(extended)


def test_a_person_behind_a_person_is_on_a_path() -> None:
    nested = [path for path in Walker(SCHEMA._schema, nested=2).paths() if len(path.edges) > 6]
    assert nested


async def test_every_address_of_the_service_is_decided_about(service: Service) -> None:
    routes = [route for route in make_app(service.parts).router.routes() if route.method != "HEAD"]
    assert {(route.method, route.resource.canonical) for route in routes if route.resource is not None} == set(ROUTES)


async def test_every_case_reaches_its_target_when_nothing_hides_it(service: Service, doors: Doors) -> None:
    world = World(service, viewer_blocks=True)
    await world.populate()
    await world.bring_targets()
    unreached = []
    ordered = sorted(doors.all(while_blocking=True), key=lambda door: (door.writes, place_among_writes(door)))
    for door in ordered:
        [answer] = await door.ask(world, world.viewer)
        assert "errors" not in answer.body.decode()[:10], (door.label, answer.body)
        if not reaches(world, door, answer.body.decode()):
            unreached.append(door.label)
    assert unreached == []


def place_among_writes(door: Door) -> int:
    """Read before anything is withdrawn, accept a request before it is, and block last, which cuts what others need."""
    order = ("Mutation.markNotificationsRead", "Mutation.acceptFollow", "", "Mutation.blockUser")
    return next((place for place in (0, 1, 3) if order[place] in door.label), 2)


def reaches(world: World, door: Door, body: str) -> bool:
    if door.aimed and ("viewAs" in door.label or "privacyExplain" in door.label or "Settings" in door.label):
        return "null," not in body[:40] and '"userErrors":[{' not in body
    if "Viewer.blocks" in door.label or "flo" in door.label or re.search(r"blockUser.*around", door.label):
        return world["flo"].opaque_id in body or "unblockUser" in door.label
    if "privacyExplain" in door.label or re.search(r"markNotificationsRead.*around", door.label):
        return True
    return any(world[name].opaque_id in body for name in TARGETS)


@pytest.mark.parametrize("name", EXPERIMENTS if LONG else SHORT)
async def test_a_hidden_person_and_nobody_are_the_same(service: Service, doors: Doors, name: str) -> None:
    experiment = EXPERIMENTS[name]
    deeper = two_lists_deep() if LONG else []
    tried = [*doors.all(while_blocking=experiment.viewer_blocks), *WALKS, *deeper]
    report = await run(service, experiment, [door for door in tried if LONG or re.search(SHORT[name], door.label)])
    different = {found.door for found in report.unknown}
    sys.stdout.write(f"{len(report.paths)} paths, {len(report.doors)} doors, {len(different)} different\n")
    assert [str(found) for found in report.unknown] == []
    assert stale(name, report.differences) == [], "no longer differs: take it off the list of what is known"


def two_lists_deep() -> list[Door]:
    """Give the doors behind which lists of people in lists are asked for; from a list, that would be too many."""
    doors = Doors(SCHEMA._schema, nested=2).all(while_blocking=False)
    single = [door for door in doors if re.match(r"Query\.(me|user|node)\b", door.label)]
    return [dataclasses.replace(door, label=f"{door.label}, two lists deep") for door in single]


def stale(experiment: str, differences: Sequence[Difference]) -> list[str]:
    due = [known for known in KNOWN if re.search(known.experiments, experiment)]
    return [known.why for known in due if not any(known.covers(found) for found in differences)]


FOUND_AT = {
    "gate": r"Query\.user \[id\]",
    "counts": r"Query\.me$",
    "follow": r"Mutation\.followUser .*\[input\.userId\]",
    "names": r"Query\.user \[username\]",
    "pages": r"pages of ana\.followers",
    "notifications": r"Subscription\.followReceived",
    "groups": r"pages of viewer\.notifications",
}


async def test_each_deliberate_leak_is_found(service: Service, doors: Doors) -> None:
    experiment = EXPERIMENTS["the target blocks"]
    all_doors = [*doors.all(while_blocking=False), *walks([2])]
    tried = {leak: [door for door in all_doors if re.search(FOUND_AT[leak], door.label)] for leak in LEAKS}
    world = World(service, viewer_blocks=False)
    await prepare(world, experiment)
    before = {leak: await tried_under(leak, world, tried[leak]) for leak in LEAKS}
    await go_on(world, experiment)
    after = {leak: await tried_under(leak, world, tried[leak]) for leak in LEAKS}
    reports = {leak: report_of(experiment, tried[leak], before[leak], after[leak]) for leak in LEAKS}
    assert {leak for leak, report in reports.items() if report.unknown} == set(LEAKS)


async def tried_under(leak: str, world: World, doors: Sequence[Door]) -> Tries:
    with LEAKS[leak]():
        return await try_all(world, EXPERIMENTS["the target blocks"], doors)


async def test_other_ways_to_ask_tell_as_little(service: Service) -> None:
    """GET and the socket run the same operations: a hidden person and nobody get the same bytes there, too."""
    world = World(service, viewer_blocks=False)
    await world.populate()
    friend, ana = world["friend"], world["ana"]
    documents = [
        f'{{ user(id: "{friend.opaque_id}") {{ id }} users(usernames: ["{friend.name}"]) {{ id }} }}',
        f'{{ user(id: "{ana.opaque_id}") {{ followersCount followers(first: 9) {{ nodes {{ id }} }} }} }}',
    ]

    async def ask() -> list[Answer]:
        answers = [await world.viewer.get(document) for document in documents]
        return answers + [await world.viewer.listen(document) for document in documents]

    before = await ask()
    await world.bring_targets()
    await hide_by_block(world)
    assert before[0].data["data"] == {"user": None, "users": [None]}
    assert [(answer.status, answer.headers, answer.body) for answer in await ask()] == [
        (answer.status, answer.headers, answer.body) for answer in before
    ]
