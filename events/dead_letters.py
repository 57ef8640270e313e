"""Dead letters, looked at and dealt with: `python -m events.dead_letters list`, `retry` or `drop`.

`retry` has a letter's effect now, as the consumer would, and removes the letter when that went well.
"""

import argparse
import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from domain.errors import Overloaded
from domain.ids import OpaqueIds
from embedded.configured import find_addresses
from events import acknowledgements
from events.consumer import GROUP
from events.effects import Handle
from events.handlers import Handlers
from events.letters import event_of, type_of
from keys import load_keys
from settings import leaving_on_bad_settings, load_or_exit
from storage.cells import open_cells
from storage.database import Database
from storage.dead_letters import Letter, fetch_letter, fetch_letters, remove_letter
from storage.redis_client import open_redis

BATCH: Final = 200

Deed = Callable[[Letter], Awaitable[bool]]


class Post:
    """The dead letters of all consumers, and the handlers to which they may go once more."""

    def __init__(self, database: Database, handlers: Mapping[str, Handle], say: Callable[[str], None]) -> None:
        self._cell = database.shards.directory
        self._handlers = handlers
        self._say = say

    async def show(self) -> bool:
        """Show every letter on a line, without its content."""
        async for letter in self._all():
            kind = type_of(letter)
            self._say(
                f"{letter.id}  {letter.died_at:%Y-%m-%d %H:%M:%S}  {letter.consumer}  "
                f"{letter.topic}/{letter.partition}/{letter.offset}  {kind.value if kind else 'unknown'}  "
                f"{letter.size} bytes  {letter.reason}"
            )
        return True

    async def retry(self, letter: Letter) -> bool:
        """Have a letter's effect; it stays where that fails."""
        try:
            event = event_of(letter)
            if event is not None:
                await self._handlers[letter.consumer](event)
        except Overloaded:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an effect raises, the letter stays
            self._say(f"{letter.id}  stays: {type(error).__name__}")
            return False
        await remove_letter(self._cell, letter.id)
        self._say(f"{letter.id}  done")
        return True

    async def drop(self, letter: Letter) -> bool:
        """Remove a letter for good."""
        await remove_letter(self._cell, letter.id)
        self._say(f"{letter.id}  dropped")
        return True

    async def each(self, ids: list[uuid.UUID] | None, deed: Deed) -> bool:
        """Do something with the letters of these ids, or with all; tells whether it went well for each."""
        if ids is None:
            return all([await deed(letter) async for letter in self._all()])
        return all([await self._one(letter_id, deed) for letter_id in ids])

    async def _one(self, letter_id: uuid.UUID, deed: Deed) -> bool:
        found = await fetch_letter(self._cell, letter_id)
        if found is None:
            self._say(f"{letter_id}  is not there")
        return found is not None and await deed(found)

    async def _all(self) -> AsyncIterator[Letter]:
        last: Letter | None = None
        while letters := await fetch_letters(self._cell, BATCH, after=last):
            for letter in letters:
                yield letter
            last = letters[-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m events.dead_letters", description="Deal with dead letters.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show every letter, without its content")
    for name, text in (("retry", "have the effect now"), ("drop", "remove for good")):
        command = commands.add_parser(name, help=text)
        which = command.add_mutually_exclusive_group(required=True)
        which.add_argument("ids", nargs="*", type=uuid.UUID, default=[], metavar="ID")
        which.add_argument("--all", action="store_true", help="all letters")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


async def _main() -> int:
    arguments = _parser().parse_args()
    settings = load_or_exit()
    addresses = find_addresses(settings)
    async with open_cells(addresses.postgres_dsns, connections=2) as shards, open_redis(addresses.redis_url) as redis:
        database = Database(shards, OpaqueIds(load_keys(settings).opaque_ids))
        handlers = {
            GROUP: Handlers(database, redis).handle,
            acknowledgements.GROUP: acknowledgements.AcknowledgementHandler(database).handle,
        }
        post = Post(database, handlers, _say)
        try:
            if arguments.command == "list":
                return 0 if await post.show() else 1
            deed = post.retry if arguments.command == "retry" else post.drop
            return 0 if await post.each(None if arguments.all else arguments.ids, deed) else 1
        except Overloaded as error:
            sys.stderr.write(f"kith: {error}\n")
            return 1


if __name__ == "__main__":
    with leaving_on_bad_settings():
        raise SystemExit(asyncio.run(_main()))
