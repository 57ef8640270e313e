"""What the broker refuses for good, for an operator: `python -m events.quarantine list|show|retry|skip [KEY]`.

A key waits at one row, which the broker would not take; nothing newer of the key is published until somebody says
`retry`, once the reason is gone, or `skip`, which gives that one row up for ever. The relay goes on within a second.
"""

import argparse
import asyncio
import contextlib
import sys
from typing import Final

from embedded.configured import find_addresses
from settings import leaving_on_bad_settings, load_or_exit
from storage import outbox_quarantine
from storage.cells import Cell, ShardMap, open_cells
from storage.outbox_quarantine import Held

_MOST_LISTED: Final = 1000
_CHARACTERS: Final = 300
_NOT_FOUND: Final = 1
_SEVERAL: Final = 2


async def list_held(shards: ShardMap) -> int:
    """Print one line for each key that waits."""
    for cell in shards.cells:
        for held in await outbox_quarantine.fetch_all_held(cell, _MOST_LISTED):
            _say(_line(cell, held))
    return 0


async def show(shards: ShardMap, name: str) -> int:
    """Print what waits of a key, and the beginning of the row that it waits at."""
    found = await _find(shards, name)
    if found is None:
        return _not_found(name)
    cell, held = found
    rows = await outbox_quarantine.fetch_rows_of(cell, held, characters=_CHARACTERS)
    _say(_line(cell, held))
    _say(f"{rows.count} events of the key wait; the first has {rows.size} bytes:\n{rows.start}")
    return 0


async def retry(shards: ShardMap, name: str) -> int:
    """Have a key tried again."""
    found = await _find(shards, name)
    if found is None or not await outbox_quarantine.retry(*found):
        return _not_found(name)
    _say(f"event {found[1].event_id} is tried again")
    return 0


async def skip(shards: ShardMap, name: str) -> int:
    """Give the row that a key waits at up, and have the rest published."""
    found = await _find(shards, name)
    if found is None or not await outbox_quarantine.skip(*found):
        return _not_found(name)
    _say(f"event {found[1].event_id} is given up; the rest of its key is published")
    return 0


async def _find(shards: ShardMap, name: str) -> tuple[Cell, Held] | None:
    """Find what is called so; a key may wait in several cells, and is then named by the event it waits at."""
    held = [(cell, one) for cell in shards.cells if (one := await outbox_quarantine.find_held(cell, name))]
    if len(held) > 1:
        sys.stderr.write(f"kith: {name} waits in {len(held)} cells; name one of the events instead.\n")
        raise SystemExit(_SEVERAL)
    return held[0] if held else None


def _line(cell: Cell, held: Held) -> str:
    state = "being tried again" if held.retry else "waits"
    since = held.since.isoformat(timespec="seconds")
    return (
        f"{held.key}  {state} since {since} at event {held.event_id} ({held.type}): {held.reason}, cell {cell.number}"
    )


def _not_found(name: str) -> int:
    sys.stderr.write(f"kith: nothing in quarantine is called {name}.\n")
    return _NOT_FOUND


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m events.quarantine", description=(__doc__ or "").partition("\n\n")[2]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the keys that wait")
    for name, text in (
        ("show", "show what waits of a key"),
        ("retry", "try the key again from the row that it waits at"),
        ("skip", "give that row up for ever, and publish the rest"),
    ):
        commands.add_parser(name, help=text).add_argument("name", help="the key, or the id of the event it waits at")
    return parser.parse_args()


async def _main(arguments: argparse.Namespace) -> int:
    addresses = find_addresses(load_or_exit())
    async with open_cells(addresses.postgres_dsns, connections=2) as shards:
        match arguments.command:
            case "show":
                return await show(shards, arguments.name)
            case "retry":
                return await retry(shards, arguments.name)
            case "skip":
                return await skip(shards, arguments.name)
            case _:
                return await list_held(shards)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt), leaving_on_bad_settings():
        raise SystemExit(asyncio.run(_main(_arguments())))
