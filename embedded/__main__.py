"""Run the parts by themselves, or remove the data: `python -m embedded run|clean DATA_DIR`."""

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from embedded.cleaning import clean
from embedded.errors import EmbeddedError
from embedded.services import Services


def main() -> None:
    """Run one of the commands; an expected failure is one sentence and exit code 1."""
    arguments = _arguments()
    try:
        asyncio.run(_commands[arguments.command](arguments))
    except EmbeddedError as error:
        sys.exit(str(error))


async def _run(arguments: argparse.Namespace) -> None:
    _cancel_on_signal(signal.SIGINT, signal.SIGTERM)
    with suppress(asyncio.CancelledError):
        async with Services(arguments.data_dir, cells=arguments.cells, report=_say) as services:
            print(msgspec.json.encode(services.addresses).decode(), flush=True)
            await asyncio.Event().wait()


def _cancel_on_signal(*signals: signal.Signals) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    for signum in signals:
        loop.add_signal_handler(signum, lambda: task and task.cancel())


async def _clean(arguments: argparse.Namespace) -> None:
    await clean(arguments.data_dir, report=_say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


_commands = {"run": _run, "clean": _clean}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m embedded", description=__doc__)
    parser.add_argument("command", choices=_commands)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--cells", type=int, default=1, help="databases to make in the one PostgreSQL")
    return parser.parse_args()


if __name__ == "__main__":
    main()
