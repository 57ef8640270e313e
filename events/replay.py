"""Facts sent once more: `python -m events.replay` with one or more of `--since`, `--user` and `--topic`.

What the outbox retains is published again under the same ids, in order per key, beside whatever is new. Facts about
people who are gone since are left out, but for the fact that they are; and so is what waits in quarantine.
"""

import argparse
import asyncio
import collections
import datetime as dt
import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from domain.errors import Overloaded
from domain.events import TOPICS, EventType
from domain.ids import NodeType, OpaqueIds
from domain.usernames import username_key
from domain.users import UserState
from embedded.configured import find_addresses
from events.broker import ensure_topics, fetch_topics, marks_among, open_admin, open_producer
from events.held_keys import HeldKeys
from events.lives import BrokerLost, confirm_connections
from events.publisher import Publisher
from keys import load_keys
from settings import leaving_on_bad_settings, load_or_exit
from storage.cells import open_cells
from storage.database import Database
from storage.outbox import PARTITIONS, OutboxRow
from storage.outbox_quarantine import Refusal
from storage.outbox_replay import Wish, fetch_states, read_retained
from storage.users import fetch_ids_by_name

TOLD_OF_THE_GONE: Final = frozenset({EventType.USER_DELETED.value, EventType.USER_PURGED.value})
SAY_EVERY: Final = 5000

Say = Callable[[str], None]


class Replay:
    """One run over the outboxes of all cells; without a producer it only counts."""

    def __init__(self, database: Database, producer: AIOKafkaProducer | None, say: Say) -> None:
        self._database = database
        self._producer = producer
        self._say = say
        self.sent: collections.Counter[str] = collections.Counter()
        self.left_out: collections.Counter[str] = collections.Counter()

    async def run(self, wish: Wish) -> None:
        """Send what is wanted, cell by cell.

        Raises:
            Overloaded: a cell does not answer; the run may be repeated.
            KafkaError: the broker does not; the run may be repeated.
        """
        for cell in self._database.shards.cells:
            held = HeldKeys(cell)
            await held.refresh(PARTITIONS)
            unsent: dict[str, int] = {}
            await read_retained(cell, wish, functools.partial(self._take, held, unsent))
            self._say(f"cell {cell.number} is done: {self._so_far()}")

    async def _take(self, held: HeldKeys, unsent: dict[str, int], rows: list[OutboxRow]) -> None:
        """Send some of a cell's rows in order; a key ends where a row cannot be sent, now or before."""
        wanted = await self._wanted(held, rows)
        before = self.sent.total()
        await self._send(wanted, unsent)
        sent = [row for row in wanted if _is_before(unsent, row)]
        self.sent.update(row.type for row in sent)
        self.left_out["the broker refuses it, or an earlier fact of the key"] += len(wanted) - len(sent)
        if before // SAY_EVERY != self.sent.total() // SAY_EVERY:
            self._say(self._so_far())

    async def _wanted(self, held: HeldKeys, rows: list[OutboxRow]) -> list[OutboxRow]:
        gone = await self._gone(rows)
        there = [row for row in rows if row.type in TOLD_OF_THE_GONE or gone.isdisjoint(people_of(row))]
        self.left_out["somebody is gone"] += len(rows) - len(there)
        free = [row for row in there if held.passes(row)]
        self.left_out["it waits in quarantine, or was given up there"] += len(there) - len(free)
        return free

    async def _send(self, rows: list[OutboxRow], unsent: dict[str, int]) -> None:
        """Send rows as the relay does, and note from where on those of a key cannot be sent."""
        if self._producer is None:
            return

        async def refuse(refusal: Refusal) -> None:
            unsent[refusal.row.key] = refusal.row.sequence

        passes = functools.partial(_is_before, unsent)
        await Publisher(self._producer, passes=passes, refuse=refuse, alone=set()).publish(rows)

    async def _gone(self, rows: Iterable[OutboxRow]) -> frozenset[str]:
        """Give those in the rows who are deleted or not there any more, and ids that were made under another key."""
        people = {person for row in rows for person in people_of(row)}
        decoded = {person: self._database.ids.decode(NodeType.USER, person) for person in people}
        known = [user_id for user_id in decoded.values() if user_id is not None]
        states = await fetch_states(self._database, known)
        there = {user_id for user_id, state in states.items() if state is not UserState.DELETED}
        return frozenset(person for person, user_id in decoded.items() if user_id not in there)

    def _so_far(self) -> str:
        done = "sent" if self._producer is not None else "to be sent"
        return f"{self.sent.total()} facts {done}, {self.left_out.total()} left out"


def _is_before(ends: Mapping[str, int], row: OutboxRow) -> bool:
    """Tell whether a row comes before the one at which its key ends."""
    return row.sequence < ends.get(row.key, row.sequence + 1)


def people_of(row: OutboxRow) -> frozenset[str]:
    """Give the opaque ids of all whom a fact is about."""
    payload = msgspec.json.decode(row.payload, type=dict[str, object])
    named = (value for name, value in payload.items() if name.endswith("Id") and isinstance(value, str))
    return frozenset({row.key, *named})


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("say the zone as well, as in 2026-01-31T12:00:00Z")
    return moment


def _wishes(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m events.replay", description="Send what the outbox retains once more, under the same ids."
    )
    parser.add_argument("--since", type=_moment, help="facts since a time, such as 2026-01-31T12:00:00Z")
    parser.add_argument("--user", help="facts by or about a person: an id, or a username")
    parser.add_argument("--topic", choices=TOPICS, help="facts of one topic")
    parser.add_argument("--dry-run", action="store_true", help="count, and send nothing")
    wishes = parser.parse_args(arguments)
    if wishes.since is None and wishes.user is None and wishes.topic is None:
        parser.error("say which facts: --since, --user or --topic")
    return wishes


async def find_person(database: Database, name_or_id: str) -> str | None:
    """Give the opaque id of somebody who is named by it or by a username."""
    if database.ids.decode(NodeType.USER, name_or_id) is not None:
        return name_or_id
    key = username_key(name_or_id) or ""
    found = await fetch_ids_by_name(database, [key])
    return database.ids.encode(NodeType.USER, found[key]) if key in found else None


async def replay(database: Database, bootstrap: str, wish: Wish, say: Say, *, dry_run: bool) -> Replay:
    """Run once, and say what came of it."""
    if dry_run:
        run = Replay(database, None, say)
        await run.run(wish)
    else:
        async with open_admin(bootstrap) as admin, open_producer(bootstrap) as producer:
            await ensure_topics(admin)
            marks = marks_among(await fetch_topics(admin))

            async def confirm() -> None:
                if marks_among(await fetch_topics(admin)) != marks:
                    raise BrokerLost

            confirm_connections(producer, confirm)
            run = Replay(database, producer, say)
            await run.run(wish)
    for name, number in sorted(run.sent.items()):
        say(f"  {name}: {number}")
    for reason, number in sorted((+run.left_out).items()):
        say(f"  left out, {reason}: {number}")
    return run


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


async def _main(arguments: list[str]) -> int:
    wishes = _wishes(arguments)
    settings = load_or_exit()
    addresses = find_addresses(settings)
    async with open_cells(addresses.postgres_dsns, connections=2) as shards:
        database = Database(shards, OpaqueIds(load_keys(settings).opaque_ids))
        try:
            person = await find_person(database, wishes.user) if wishes.user is not None else None
            if wishes.user is not None and person is None:
                sys.stderr.write("kith: there is nobody of this name or id\n")
                return 1
            stream = wishes.topic.removesuffix(".v1") if wishes.topic is not None else None
            wish = Wish(wishes.since, stream, person)
            await replay(database, addresses.kafka_bootstrap, wish, _say, dry_run=wishes.dry_run)
        except (Overloaded, KafkaError, OSError) as error:
            sys.stderr.write(f"kith: {type(error).__name__}; nothing is lost, run it again\n")
            return 1
    return 0


if __name__ == "__main__":
    with leaving_on_bad_settings():
        raise SystemExit(asyncio.run(_main(sys.argv[1:])))
