"""Small worlds: a viewer, everybody else, and two targets whose ids and names are fixed before they exist."""

import dataclasses
import datetime as dt
import itertools
import secrets
import time
import uuid
from typing import Final
from unittest import mock

import msgspec

from domain.events import EventType
from domain.ids import NodeType, cell_of, new_id
from domain.notifications import NotificationKind
from domain.pages import Position
from domain.policies import PrivacyPolicy, write_policy
from domain.transitions import Transition, block, follow, unblock
from domain.users import User, UserState
from resolvers.delivery import cursor_scope, id_scope
from storage.deletions import delete_account, restore_account
from storage.departures import depart
from storage.mutes import Mute, change_mute
from storage.notifications import NewNotification, add_notification
from storage.pairs import change_pair
from storage.users import NewUser, change_user, create_user
from tests.proof.leaks.service import Asker, Service, patiently

TARGETS: Final = ("friend", "asker")
"""`friend` follows the viewer and is followed; `asker` asks the viewer to follow and is asked."""

_LONG_AGO: Final = dt.timedelta(days=2)
_FOLLOW: Final = follow(target_is_private=False)
_ASK: Final = follow(target_is_private=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """Somebody of a world, who may not exist yet."""

    id: int
    name: str
    opaque_id: str


class World:
    """Names to people, and what is done to them; times of follows are given, so that nobody's depends on the clock."""

    def __init__(self, service: Service, *, viewer_blocks: bool) -> None:
        self.service = service
        self.tag = secrets.token_hex(4)
        self.viewer_blocks = viewer_blocks
        self._began = dt.datetime.now(dt.UTC) - _LONG_AGO
        self._numbers = itertools.count()
        self._moments = itertools.count(time.time_ns() // 1_000_000, -1)  # each id a moment of its own: none clash
        # The viewer lives in another cell than the targets, whose cell is that of an id that nobody has.
        cells = len(service.database.shards.cells)
        self.people = {name: self._plan(name, 0) for name in TARGETS}
        self.people["viewer"] = self._plan("viewer", 1 % cells)
        for number, name in enumerate(("ana", "bo", "cy", "dee", "eve", "flo", "star")):
            self.people[name] = self._plan(name, number % cells)

    def __getitem__(self, name: str) -> Person:
        return self.people[name]

    @property
    def viewer(self) -> Asker:
        """Give the viewer as a client."""
        return self.service.asker(self["viewer"].opaque_id)

    @property
    def anonymous(self) -> Asker:
        """Give somebody who does not sign in."""
        return self.service.asker(None)

    @property
    def notification_ids(self) -> list[str]:
        """Give the ids of what the viewer is told of the targets, whether or not it is."""
        places = [Position(len(_TOLD) + number, 0) for number in (1, 2, 3)]
        return self.service.parts.backend.cursors.encode(id_scope(self["viewer"].id), places)

    @property
    def cursor(self) -> str:
        """Give the cursor before the viewer's first notification."""
        scope = cursor_scope(self["viewer"].id)
        [cursor] = self.service.parts.backend.cursors.encode(scope, [Position(0, 0)])
        return cursor

    async def populate(self) -> None:
        """Make everybody but the targets, with relations at even minutes."""
        for name in self.people.keys() - set(TARGETS):
            await self.create(name)
        for follower, followed in map(str.split, _RELATIONS):
            await self.act(follower, followed, _FOLLOW, minute=2 * next(self._numbers))
        await self.act("dee", "viewer", _ASK, minute=2 * next(self._numbers))
        await self.act("viewer", "eve", _ASK, minute=2 * next(self._numbers))
        await self.mute("viewer", "ana")
        if self.viewer_blocks:
            await self.act("viewer", "flo", block(until=None))
        for name, kind in _TOLD:
            await self.notify(name, kind)

    async def bring_targets(self) -> None:
        """Make the targets, with relations to everybody in between those that were there."""
        for number, name in enumerate(TARGETS):
            await self.create(name)
            await self.befriend_others(name, number)
        await self.act("viewer", "friend", _FOLLOW, minute=3)
        await self.act("friend", "viewer", _FOLLOW, minute=5)
        await self.act("viewer", "asker", _ASK, minute=1)
        await self.act("asker", "viewer", _ASK, minute=1)
        await self.mute("viewer", "friend")
        await self.mute("viewer", "asker")
        await self.notify("friend", NotificationKind.FOLLOW)
        await self.notify("asker", NotificationKind.FOLLOW_REQUEST)
        await self.notify("friend", NotificationKind.FOLLOW_ACCEPTED)

    async def befriend_others(self, name: str, number: int) -> None:
        """Have a target follow others and be followed, at odd minutes."""
        for offset, other in enumerate(("ana", "star", "bo", "cy")):
            for later, (follower, followed) in enumerate(((name, other), (other, name))):
                await self.act(follower, followed, _FOLLOW, minute=8 * offset + 4 * later + 2 * number + 1)

    async def create(self, name: str, policy: PrivacyPolicy | None = None) -> None:
        """Make a person under the id and the name that were planned."""
        person = self[name]
        new = NewUser(person.name, f"{name} {self.tag}", bio=f"About {name}", policy=policy or PrivacyPolicy())
        with mock.patch("storage.users.new_id", return_value=person.id):
            made = await create_user(self.service.database, new, cell=cell_of(person.id), now=self._began)
        assert made == person.id

    async def act(self, actor: str, other: str, transition: Transition, *, minute: int | None = None) -> None:
        """Have one act on another, now or at a minute of the past."""
        now = dt.datetime.now(dt.UTC) if minute is None else self._began + dt.timedelta(minutes=minute)
        one, two = self[actor].id, self[other].id
        await patiently(lambda: change_pair(self.service.database, one, two, transition, now))

    async def mute(self, owner: str, other: str) -> None:
        """Have one mute another."""
        one, two = self[owner].id, self[other].id
        await patiently(lambda: change_mute(self.service.database, one, two, Mute(None)))

    async def notify(self, actor: str, kind: NotificationKind) -> None:
        """Tell the viewer of what somebody did, as the consumer does."""
        new = NewNotification(self["viewer"].id, uuid.uuid4(), kind, self[actor].id, dt.datetime.now(dt.UTC))
        assert await add_notification(self.service.database, new)

    async def change(self, name: str, **changes: object) -> None:
        """Change a person's row."""

        def changed(user: User) -> User:
            return msgspec.structs.replace(user, **changes)

        assert await change_user(self.service.database, self[name].id, changed, event=EventType.USER_UPDATED)

    async def depart(self, name: str, state: UserState) -> None:
        """Have a person go."""
        assert await depart(self.service.database, self[name].id, state, event=EventType.USER_DELETED)

    async def delete_account(self, name: str) -> None:
        """Have a person delete the account."""
        database, one = self.service.database, self[name].id
        assert await patiently(lambda: delete_account(database, one, dt.datetime.now(dt.UTC)))

    def _plan(self, name: str, cell: int) -> Person:
        user_id = new_id(cell, at_ms=next(self._moments))
        opaque_id = self.service.database.ids.encode(NodeType.USER, user_id)
        return Person(user_id, f"{name}.{self.tag}.{secrets.token_hex(2)}", opaque_id)


async def hide_by_block(world: World) -> None:
    """Have both targets block the viewer."""
    for name in TARGETS:
        await world.act(name, "viewer", block(until=None))


async def hide_for_a_while(world: World) -> None:
    """Have both targets block the viewer until tomorrow."""
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    for name in TARGETS:
        await world.act(name, "viewer", block(until=until))


async def hide_by_own_block(world: World) -> None:
    """Have the viewer block both targets."""
    for name in TARGETS:
        await world.act("viewer", name, block(until=None))


async def hide_both_ways(world: World) -> None:
    """Have the viewer and the targets block each other."""
    await hide_by_own_block(world)
    await hide_by_block(world)


async def delete(world: World) -> None:
    """Have both targets delete their accounts."""
    for name in TARGETS:
        await world.delete_account(name)


async def delete_and_come_back_blocking(world: World) -> None:
    """Have both targets delete their accounts, come back, and block the viewer."""
    await delete(world)
    for name in TARGETS:
        one = world[name].id
        assert await restore_account(world.service.database, one, dt.datetime.now(dt.UTC))
    await hide_by_block(world)


async def suspend(world: World) -> None:
    """Suspend both targets."""
    for name in TARGETS:
        await world.depart(name, UserState.SUSPENDED)


async def block_and_unblock(world: World) -> None:
    """Have both targets block the viewer and take it back."""
    await hide_by_block(world)
    for name in TARGETS:
        await world.act(name, "viewer", unblock())


async def come_as_strangers(world: World) -> None:
    """Make the targets with relations to others, but none to the viewer."""
    for number, name in enumerate(TARGETS):
        await world.create(name)
        await world.befriend_others(name, number)


async def come_and_be_blocked(world: World) -> None:
    """Make the targets, whom the viewer then blocks."""
    await world.bring_targets()
    await hide_by_own_block(world)


async def list_targets(world: World) -> None:
    """Put the targets on the viewer's allow and deny lists, as if they had been there when the viewer last looked."""
    policy = PrivacyPolicy(allow=frozenset({world["friend"].id}), deny=frozenset({world["asker"].id}))
    cell = world.service.database.shards.home(world["viewer"].id)
    await cell.loans.pool.execute(
        "UPDATE users SET policy = $2 WHERE id = $1", world["viewer"].id, write_policy(policy)
    )


_RELATIONS: Final = (
    "viewer ana",
    "ana viewer",
    "viewer bo",
    "bo viewer",
    "viewer cy",
    "bo ana",
    "ana bo",
    "cy ana",
    "ana cy",
    "bo star",
    "cy star",
    "star cy",
    "star dee",
    "bo cy",
    "cy bo",
)
"""Who follows whom."""

_TOLD: Final = (
    ("bo", NotificationKind.FOLLOW),
    ("dee", NotificationKind.FOLLOW_REQUEST),
    ("ana", NotificationKind.FOLLOW_ACCEPTED),
)
"""What the viewer is told of those who were there first."""
