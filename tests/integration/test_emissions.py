"""Which mutation emits what: every row of the table, run on the server over HTTP, and what it leaves in the outbox."""

import dataclasses
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from domain.emissions import (
    ANOTHER_NAME,
    AS_BEFORE,
    CHANGED,
    CONFIRMED,
    EMISSIONS,
    EVERYWHERE,
    NO_SESSION,
    OPTED_OUT,
    PRIVATE,
    PUBLIC_ACCEPTING,
    PUBLIC_REJECTING,
    SAME_NAME,
    UNTIL,
    Edge,
    Emission,
    Emitted,
    State,
)
from domain.events import PAYLOADS
from embedded import Addresses
from tests.conftest import KEY, MakePerson, Person
from tests.proof.leaks.service import Asker, Service, open_service

CANARY = "canary of"
PROFILE = {
    "display_name": f"{CANARY} name",
    "bio": f"{CANARY} bio",
    "avatar_url": "https://canary.of/avatar",
    "pronouns": f"{CANARY} pronouns",
    "location": f"{CANARY} location",
}
UNTIL_THEN = {"expiresAt": "2100-01-01T00:00:00Z"}
INPUTS: dict[str, dict[str, Any]] = {
    UNTIL: UNTIL_THEN,
    ANOTHER_NAME: {},
    SAME_NAME: {},
    EVERYWHERE: {"everywhere": True},
    OPTED_OUT: {"optedOut": True},
    NO_SESSION: {"everywhere": False},
    CHANGED: {"bio": f"{CANARY} another bio", "links": [{"label": f"{CANARY} link", "url": "https://canary.of/link"}]},
    AS_BEFORE: {"bio": PROFILE["bio"], "location": PROFILE["location"]},
    PRIVATE: {"isPrivate": True},
    PUBLIC_ACCEPTING: {"isPrivate": False, "waitingRequests": "ACCEPT"},
    PUBLIC_REJECTING: {"isPrivate": False, "waitingRequests": "REJECT"},
}
PRIVACY_INPUTS: dict[str, dict[str, Any]] = {
    CHANGED: {"audiences": [{"group": "BIO", "audience": "FOLLOWERS"}]},
    AS_BEFORE: {"isPrivate": False},
}
OTHER_INPUTS: dict[str, dict[str, Any]] = {
    "recordConsent": {"purpose": "TERMS_OF_SERVICE", "version": "2026-11-01", "granted": True},
    "markNotificationsRead": {"ids": []},
    "updateNotificationPreferences": {"strangers": "FILTER"},
}

_OUTBOX = """
SELECT id, type, aggregateid, payload::text AS payload, outbox::text AS whole
FROM outbox
WHERE aggregateid = ANY($1::text[]) OR payload::text LIKE ANY ($2::text[])
ORDER BY sequence
"""
_END_BLOCKS = """
UPDATE relationships
SET blocks_until = CASE WHEN blocks THEN now() END, blocked_by_until = CASE WHEN blocked_by THEN now() END
WHERE owner_id = $1 AND other_id = $2
"""


@pytest.fixture(scope="module")
async def service(dsns: tuple[str, ...], addresses: Addresses, short_folder: Path) -> AsyncIterator[Service]:
    """Run the server on one cell, and then on two."""
    parts = dataclasses.replace(addresses, postgres_dsns=dsns)
    async with open_service(parts, short_folder / f"emissions-{len(dsns)}", KEY) as opened:
        yield opened


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """Two people, each at the other end of a line to the server."""

    service: Service
    viewer: Person
    other: Person

    async def act(self, actor: Person, mutation: str, **fields: Any) -> None:
        """Run a mutation; whatever it says of the other, it must have been understood."""
        asker: Asker = self.service.asker(actor.opaque_id)
        kind = f"{mutation[0].upper()}{mutation[1:]}Input"
        document = f"mutation($input: {kind}!) {{ {mutation}(input: $input) {{ userErrors {{ code path }} }} }}"
        answer = await asker.post(document, {"input": fields})
        assert "errors" not in answer.data, answer.body

    async def viewer_acts(self, mutation: str, **fields: Any) -> None:
        await self.act(self.viewer, mutation, **{"userId": self.other.opaque_id, **fields})

    async def other_acts(self, mutation: str, **fields: Any) -> None:
        await self.act(self.other, mutation, **{"userId": self.viewer.opaque_id, **fields})

    async def privacy(self, person: Person, *, private: bool) -> None:
        await self.act(person, "updatePrivacySettings", isPrivate=private)

    async def outbox(self) -> list[Mapping[str, Any]]:
        """Give what the two have in the outboxes of all cells; in each in the order in which it will leave."""
        people = [self.viewer.opaque_id, self.other.opaque_id]
        rows: list[Mapping[str, Any]] = []
        for cell in self.service.database.shards.cells:
            rows.extend(dict(row) for row in await cell.fetch(_OUTBOX, people, [f"%{person}%" for person in people]))
        return rows


async def follow(scene: Scene) -> None:
    await scene.viewer_acts("followUser")


async def be_followed(scene: Scene) -> None:
    await scene.other_acts("followUser")


async def ask(scene: Scene) -> None:
    await scene.privacy(scene.other, private=True)
    await follow(scene)


async def be_asked(scene: Scene) -> None:
    await scene.privacy(scene.viewer, private=True)
    await be_followed(scene)


async def both_follow(scene: Scene) -> None:
    await follow(scene)
    await be_followed(scene)


async def follow_and_be_asked(scene: Scene) -> None:
    await follow(scene)
    await be_asked(scene)


async def both_ask(scene: Scene) -> None:
    await ask(scene)
    await be_asked(scene)


async def block(scene: Scene) -> None:
    await scene.viewer_acts("blockUser")


async def be_blocked(scene: Scene) -> None:
    await scene.other_acts("blockUser")


async def block_and_wait(scene: Scene) -> None:
    await scene.viewer_acts("blockUser", **UNTIL_THEN)
    one, other = scene.viewer.id, scene.other.id
    for owner, whom in ((one, other), (other, one)):
        await scene.service.database.shards.home(owner).fetch(_END_BLOCKS, owner, whom)


async def mute(scene: Scene) -> None:
    await scene.viewer_acts("muteUser")


async def delete(scene: Scene) -> None:
    await scene.act(scene.viewer, "deleteAccount", confirmation=scene.viewer.name)


async def both_follow_and_delete(scene: Scene) -> None:
    await both_follow(scene)
    await delete(scene)


async def opt_out(scene: Scene) -> None:
    await scene.act(scene.viewer, "setDataSharing", optedOut=True)


async def be_followed_and_go_private(scene: Scene) -> None:
    await be_followed(scene)
    await scene.privacy(scene.viewer, private=True)


async def nothing(_scene: Scene) -> None:
    pass


async def other_goes_private(scene: Scene) -> None:
    await scene.privacy(scene.other, private=True)


WAYS_TO: dict[State, Callable[[Scene], Awaitable[None]]] = {
    State.STRANGERS: nothing,
    State.OTHER_IS_PRIVATE: other_goes_private,
    State.FOLLOWS: follow,
    State.ASKS: ask,
    State.FOLLOWED: be_followed,
    State.ASKED: be_asked,
    State.MUTUAL: both_follow,
    State.FOLLOWS_AND_ASKED: follow_and_be_asked,
    State.BOTH_ASK: both_ask,
    State.BLOCKS: block,
    State.BLOCKED: be_blocked,
    State.BLOCK_ENDED: block_and_wait,
    State.MUTES: mute,
    State.DELETED: delete,
    State.DELETED_MUTUAL: both_follow_and_delete,
    State.OPTED_OUT: opt_out,
    State.PRIVATE_AND_FOLLOWED: be_followed_and_go_private,
}


def name_in(row: Emission, scene: Scene) -> dict[str, Any]:
    if row.mutation == "changeUsername":
        return {"username": scene.viewer.name if row.given == SAME_NAME else f"{scene.viewer.name}x"}
    return {"confirmation": scene.viewer.name if row.given == CONFIRMED else scene.other.name}


def input_of(row: Emission, scene: Scene) -> dict[str, Any]:
    if row.mutation == "updatePrivacySettings":
        return {**INPUTS, **PRIVACY_INPUTS}[row.given]
    if row.mutation in ("updateProfile", "signOut", "setDataSharing"):
        return INPUTS[row.given]
    if row.mutation in ("deleteAccount", "changeUsername"):
        return name_in(row, scene)
    if row.mutation in ("removeFormerUsernames", "restoreAccount", "requestDataExport"):
        return {}
    if row.mutation in OTHER_INPUTS:
        return OTHER_INPUTS[row.mutation]
    return {"userId": scene.other.opaque_id, **(INPUTS[row.given] if row.given else {})}


def people_of(emitted: Emitted, scene: Scene) -> list[str]:
    viewer, other = scene.viewer.opaque_id, scene.other.opaque_id
    edges = {Edge.VIEWER: [viewer], Edge.VIEWER_TO_OTHER: [viewer, other], Edge.OTHER_TO_VIEWER: [other, viewer]}
    return edges[emitted.edge]


def told(row: Mapping[str, Any]) -> tuple[str, str, list[str], bool]:
    """Give name, key, people in the order of the payload, and whether it was a request that ended."""
    payload = json.loads(row["payload"])
    fields = [name for name in _ID_FIELDS if name in payload]
    return row["type"], row["aggregateid"], [payload[name] for name in fields], payload.get("wasPending", False)


_ID_FIELDS = ["userId", "followerId", "followeeId", "blockerId", "blockedId", "muterId", "mutedId"]


@pytest.fixture
async def scene(service: Service, make_person: MakePerson) -> Scene:
    viewer = await make_person(**PROFILE)
    return Scene(service, viewer, await make_person(**PROFILE))


def called(row: Emission) -> str:
    return f"{row.mutation}, {row.state.value}{f', given {row.given}' if row.given else ''}"


@pytest.mark.parametrize("row", EMISSIONS, ids=called)
async def test_a_mutation_emits_what_the_table_says_and_a_repeat_nothing(row: Emission, scene: Scene) -> None:
    await WAYS_TO[row.state](scene)
    before = {found["id"] for found in await scene.outbox()}
    fields = input_of(row, scene)
    await scene.act(scene.viewer, row.mutation, **fields)
    rows = await scene.outbox()
    emitted = [told(found) for found in rows if found["id"] not in before]
    viewer = scene.viewer.opaque_id
    expected = [(fact.type.value, viewer, people_of(fact, scene), fact.was_pending) for fact in row.events]
    assert in_order(scene, emitted) == in_order(scene, expected)
    if row.mutation == "signOut":
        return  # a repeat is refused, as soon as the server has read of the first
    await scene.act(scene.viewer, row.mutation, **fields)
    assert len(await scene.outbox()) == len(rows), "a repeat changes nothing"


Facts = list[tuple[str, str, list[str], bool]]


def in_order(scene: Scene, facts: Facts) -> Facts:
    """Give facts in the order in which they leave, which is none where they lie in the outboxes of two cells."""
    return facts if len(scene.service.database.shards.cells) == 1 else sorted(facts)


@pytest.mark.parametrize("row", [row for row in EMISSIONS if row.events], ids=called)
async def test_no_event_of_a_mutation_holds_more_than_opaque_ids(row: Emission, scene: Scene) -> None:
    await WAYS_TO[row.state](scene)
    await scene.act(scene.viewer, row.mutation, **input_of(row, scene))
    people = {scene.viewer.opaque_id, scene.other.opaque_id}
    secrets = [CANARY, "canary.of", scene.viewer.name, scene.other.name, str(scene.viewer.id), str(scene.other.id)]
    rows = await scene.outbox()
    assert rows
    for found in rows:
        assert [secret for secret in secrets if secret in found["whole"]] == []
        values = json.loads(found["payload"]).values()
        assert {value for value in values if isinstance(value, str) and not is_moment(value)} <= people
        assert found["type"] in PAYLOADS


def is_moment(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", text) is not None
