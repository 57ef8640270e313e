"""Making the archive of an export: a zip of JSON files, each beside its schema."""

import asyncio
import datetime as dt
import io
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import IO, Final

import msgspec

from domain.exports import (
    FILES,
    AccountEntry,
    ActionEntry,
    ConsentEntry,
    Export,
    FollowEntry,
    KeptAwayEntry,
    LinkEntry,
    NotificationEntry,
    OtherPerson,
    PreferencesEntry,
    PrivacyEntry,
    ProfileEntry,
    schema_of,
)
from domain.ids import NodeType
from domain.pages import Position
from domain.personal import NO_DETAILS, PersonalDetails
from domain.relationships import STRANGERS, FollowState
from domain.users import User, UserState
from privacy.policy import see, see_own_block
from storage.audit import fetch_entries
from storage.auth_service import AuthService
from storage.cells import Record
from storage.consents import fetch_consents
from storage.database import Database
from storage.exports import drop_export, fetch_export, finish_export, note_progress, read_sides
from storage.notification_preferences import fetch_notification_preferences
from storage.notifications import fetch_after
from storage.personal import fetch_details
from storage.relationships import fetch_relationships
from storage.tallies import fetch_tallies
from storage.users import fetch_users
from storage.vault import Vault

_BATCH: Final = 500


class Exporter:
    """Writes the files of one person's archive."""

    def __init__(
        self, database: Database, accounts: AuthService, user: User, details: PersonalDetails, now: dt.datetime
    ) -> None:
        self._database = database
        self._user = user
        self._details = details
        self._now = now
        self._accounts = accounts
        self._records: dict[str, Callable[[], Awaitable[object]]] = {
            "account": self._account,
            "profile": self._profile,
            "privacy": self._privacy,
            "notification-preferences": self._preferences,
        }
        self._lists: dict[str, Callable[[], AsyncIterator[Sequence[object]]]] = {
            "sign-ins": lambda: accounts.read_sign_ins(user.opaque_id),
            "applications": lambda: accounts.read_applications(user.opaque_id),
            "account-actions": lambda: accounts.read_actions(user.opaque_id),
            "following": self._following,
            "followers": self._followers,
            "blocks": self._blocks,
            "mutes": self._mutes,
            "notifications": self._notifications,
            "consents": self._consents,
            "actions": self._actions,
        }

    async def write(self, export: Export) -> bytes:
        """Write the archive, noting after each file how far it has come."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for done, name in enumerate(FILES, start=1):
                with archive.open(self._named(f"{name}.json"), "w") as file:
                    await self._write_one(name, file)
                archive.writestr(self._named(f"{name}.schema.json"), json.dumps(schema_of(name), indent=2))
                await note_progress(self._database, export, done)
        return buffer.getvalue()

    def _named(self, name: str) -> zipfile.ZipInfo:
        """Name a file of the archive, of now."""
        info = zipfile.ZipInfo(name, self._now.timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        return info

    async def _write_one(self, name: str, file: IO[bytes]) -> None:
        """Write a record, or a list: entry by entry, since those of a celebrity are many."""
        if name in self._records:
            file.write(msgspec.json.encode(await self._records[name]()))
            return
        before = b"["
        async for batch in self._lists[name]():
            if batch:
                content = before + b",".join(map(msgspec.json.encode, batch))
                await asyncio.to_thread(file.write, content)
                before = b","
        file.write(b"]" if before == b"," else b"[]")

    async def _others(self, user_ids: Sequence[int]) -> dict[int, OtherPerson]:
        """Show others: as ids, and by name where the person may meet them now, or blocks them."""
        people = await fetch_users(self._database, user_ids)
        sides = await fetch_relationships(self._database, self._user.id, user_ids)
        shown = {}
        for user_id in user_ids:
            side, found = sides.get(user_id, STRANGERS), people.get(user_id)
            met = None
            if found is not None:
                met = see(self._user.id, found, side, self._now)
                met = met or see_own_block(self._user.id, found, side, self._now)
            shown[user_id] = OtherPerson(id=self._opaque(user_id), username=met.user.username if met else None)
        return shown

    def _opaque(self, user_id: int) -> str:
        return self._database.ids.encode(NodeType.USER, user_id)

    async def _account(self) -> AccountEntry:
        account = await self._accounts.fetch_account(self._user.opaque_id)
        return AccountEntry(held_by=self._accounts.issuer, account=account)

    async def _profile(self) -> ProfileEntry:
        user = self._user
        counts = (await fetch_tallies(self._database, [user.id]))[user.id].counts
        return ProfileEntry(
            id=user.opaque_id,
            username=user.username,
            display_name=user.display_name,
            bio=user.bio,
            avatar_url=user.avatar_url,
            pronouns=user.pronouns,
            location=user.location,
            email=self._details.email,
            phone=self._details.phone,
            birth_date=self._details.birth_date,
            links=[LinkEntry(label=link.label, url=link.url) for link in user.links],
            created_at=user.created_at,
            followers=counts.followers,
            following=counts.following,
        )

    async def _privacy(self) -> PrivacyEntry:
        policy = self._user.policy
        allow, deny = sorted(policy.allow), sorted(policy.deny)
        shown = await self._others([*allow, *deny])
        return PrivacyEntry(
            is_private=policy.is_private,
            audiences={setting.group.value: setting.audience.value for setting in policy.settings},
            allow=[shown[user_id] for user_id in allow],
            deny=[shown[user_id] for user_id in deny],
        )

    async def _preferences(self) -> PreferencesEntry:
        found = await fetch_notification_preferences(self._database, self._user.id)
        return PreferencesEntry(
            followed=found.followed.name,
            strangers=found.strangers.name,
            new_accounts=found.new_accounts.name,
            new_account_days=found.new_account_days,
        )

    async def _following(self) -> AsyncIterator[Sequence[object]]:
        async for sides in self._sides("follows"):
            yield [
                FollowEntry(person=person, since=row["follows_at"], pending=row["follows"] == FollowState.PENDING)
                for row, person in sides
            ]

    async def _followers(self) -> AsyncIterator[Sequence[object]]:
        async for sides in self._sides("followed_by"):
            yield [
                FollowEntry(
                    person=person, since=row["followed_by_at"], pending=row["followed_by"] == FollowState.PENDING
                )
                for row, person in sides
            ]

    async def _blocks(self) -> AsyncIterator[Sequence[object]]:
        async for sides in self._sides("blocks"):
            yield [KeptAwayEntry(person=person, until=row["blocks_until"]) for row, person in sides]

    async def _mutes(self) -> AsyncIterator[Sequence[object]]:
        async for sides in self._sides("mutes"):
            yield [KeptAwayEntry(person=person, until=row["mutes_until"]) for row, person in sides]

    async def _sides(self, column: str) -> AsyncIterator[list[tuple[Record, OtherPerson]]]:
        """Give the rows in which a column says something, with the other person of each, in batches."""
        async for rows in read_sides(self._database, self._user.id):
            wanted = [row for row in rows if row[column]]
            shown = await self._others([row["other_id"] for row in wanted])
            yield [(row, shown[row["other_id"]]) for row in wanted]

    async def _notifications(self) -> AsyncIterator[Sequence[object]]:
        last = 0
        while rows := await fetch_after(self._database, self._user.id, last, _BATCH):
            shown = await self._others(sorted({row.actor_id for row in rows}))
            yield [
                NotificationEntry(
                    kind=row.kind.name, actor=shown[row.actor_id], created_at=row.created_at, read_at=row.read_at
                )
                for row in rows
            ]
            last = rows[-1].sequence

    async def _consents(self) -> AsyncIterator[Sequence[object]]:
        beyond = None
        while rows := await fetch_consents(self._database, self._user.id, beyond, downward=False, limit=_BATCH):
            yield [
                ConsentEntry(
                    at=row.at,
                    purpose=row.decision.purpose.name,
                    granted=row.decision.granted,
                    version=row.decision.version,
                    source=row.decision.source.name,
                )
                for row in rows
            ]
            beyond = Position(rows[-1].number, 0)

    async def _actions(self) -> AsyncIterator[Sequence[object]]:
        beyond = None
        while rows := await fetch_entries(self._database, self._user.id, beyond, downward=False, limit=_BATCH):
            shown = await self._others(sorted({row.target_id for row in rows if row.target_id is not None}))
            yield [ActionEntry(at=row.at, action=row.action, person=shown.get(row.target_id or 0)) for row in rows]
            beyond = rows[-1].position


async def make_export(database: Database, vault: Vault, accounts: AuthService, user_id: int, now: dt.datetime) -> bool:
    """Make the export that a person has asked for; False where nobody is there any more. May be repeated.

    Raises:
        Overloaded: a part that holds something of the person is away.
    """
    export = await fetch_export(database, user_id)
    people = await fetch_users(database, [user_id])
    if export is None or user_id not in people or people[user_id].state is not UserState.ACTIVE:
        await drop_export(database, user_id)
        return False
    details = (await fetch_details(database, vault, [user_id])).get(user_id, NO_DETAILS)
    archive = await Exporter(database, accounts, people[user_id], details, now).write(export)
    await finish_export(database, vault, export, archive, now)
    return True
