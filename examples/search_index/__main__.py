"""`python -m examples.search_index follow` keeps the index; `… search WORDS [--viewer=ID]` asks it."""

import argparse
import asyncio
import contextlib
import logging
import signal
from pathlib import Path

import aiohttp

from examples.search_index.consumer import SearchIndexer
from examples.search_index.index import Index
from examples.search_index.kith import Kith


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.search_index")
    parser.add_argument("--file", type=Path, default=Path("search-index.sqlite"), help="where the index is")
    commands = parser.add_subparsers(dest="command", required=True)
    follow = commands.add_parser("follow", help="keep the index until told to stop")
    follow.add_argument("--bootstrap", required=True, help="host:port of Kith's brokers")
    follow.add_argument("--api", default="http://127.0.0.1:8000/graphql", help="the address of Kith's GraphQL API")
    search = commands.add_parser("search", help="find people by a part of their names")
    search.add_argument("words")
    search.add_argument(
        "--viewer",
        help="who searches, as --viewer=ID, for ids may begin with a dash",
    )
    return parser


async def _follow(index: Index, bootstrap: str, api: str) -> None:
    async with aiohttp.ClientSession() as session:
        task = asyncio.ensure_future(SearchIndexer(index, Kith(api, session), bootstrap).run())
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task


def main() -> None:
    """Run one command."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING)
    index = Index(arguments.file)
    try:
        if arguments.command == "follow":
            asyncio.run(_follow(index, arguments.bootstrap, arguments.api))
        else:
            for person in index.search(arguments.words, viewer_id=arguments.viewer):
                print(f"{person.id}  {person.username}  {person.display_name or ''}".rstrip())
    finally:
        index.close()


if __name__ == "__main__":
    main()
