"""Load another service's people and follows: `python -m storage.import_graph users.csv follows.csv`.

Or an edge list of numbers, whose people are made up: `python -m storage.import_graph --graph github-social.csv.gz`.
Files may be gzipped. Works on the cells that are configured, on those of a running `make run`, or else starts
PostgreSQL for the time it takes.

An import that is stopped in any way, `kill -9` included, goes on when the same command is given again; one that has
finished changes nothing when it is. An old id stands for the same person in every import of the same `--source`.

While the service runs: every transaction is a batch and takes its locks in the order of live mutations; names, blocks
and follows that are there stand, a request becomes the follow that it asks for, and counters are exact at every
commit, with the exception of follows between two cells, whose two sides are exact each in its own cell. No outbox
events are written: consumers, and caches with them, learn of imported rows from a snapshot, not from the stream.
"""

import argparse
import asyncio
import contextlib
import csv
import gc
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg

from embedded import EmbeddedError, Part
from embedded.configured import open_addresses
from settings import Settings, load_or_exit
from storage.import_files import EdgeList, Files, ImportFileError, TwoFiles, quote_record, read_records, run_key
from storage.import_follows import load_follows
from storage.import_people import load_people
from storage.import_progress import say, showing
from storage.import_runs import (
    FOLLOWS_FILE,
    PEOPLE_FILE,
    AnotherImport,
    Cells,
    Check,
    Run,
    analyse,
    begin,
    check_counts,
    count_follows,
    count_reasons,
    finish,
    open_import,
    read_rejects,
)
from storage.import_staging import clear_staging, stage_follows
from storage.migrate import MigrationError, migrate

BATCH: Final = 10_000
_MAX_BATCH: Final = 100_000
_FAILED: Final = 1
_MISUSED: Final = 2
_STOPPED: Final = 130


async def import_files(
    cells: Cells, files: Files, *, source: str, batch: int = BATCH, rejects: Path | None = None
) -> list[Check]:
    """Load files whole, or what an interrupted run of them has left; gives how the counters of each cell stand.

    Raises:
        ImportFileError: a file cannot be read; what is loaded by then stays.
    """
    started = time.monotonic()
    run = await begin(cells, run_key(files, source), source)
    if run.finished_at is None:
        await _load(cells, run, files, batch)
    else:
        say(f"These files have been loaded before, on {run.finished_at:%Y-%m-%d at %H:%M} UTC; nothing is changed.")
    if rejects is not None:
        await write_rejects(cells, run, files, rejects)
    await _sum_up(cells, await begin(cells, run.key, source), time.monotonic() - started, rejects)
    return await _check(cells)


async def _load(cells: Cells, run: Run, files: Files, batch: int) -> None:
    with showing("Loading people") as show:
        await load_people(cells, run, files, batch=batch, report=show)
    with showing("Reading follows") as show:
        total = await stage_follows(cells, run, files, batch=batch, report=show)
    with showing("Loading follows", total) as show:
        done = sum(await count_follows(cells, run))

        def report(follows: int) -> None:
            nonlocal done
            done += follows
            show(done)

        await load_follows(cells, run, batch=batch, report=report)
    await finish(cells, run)
    await clear_staging(cells)
    await analyse(cells)


async def write_rejects(cells: Cells, run: Run, files: Files, path: Path) -> None:
    """Write the rejected rows, as they stand in the files, with line and reason; whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "line", "reason", "row"))
        for number, (source, columns) in zip((PEOPLE_FILE, FOLLOWS_FILE), files.parts, strict=True):
            records = read_records(source, columns)
            async for reject in read_rejects(cells, run, number):
                record = next(record for record in records if record.line == reject.line)
                writer.writerow((source.name, reject.line, reject.reason, quote_record(record)))
    fresh.replace(path)


async def _sum_up(cells: Cells, run: Run, seconds: float, rejects: Path | None) -> None:
    reasons = await count_reasons(cells, run)
    follows = f"{run.loaded:,} follows ({run.known:,} more were there)"
    say(f"Loaded {run.people_loaded:,} people and {follows} in {seconds:.1f} s")
    say(f"Rejected {sum(reasons.values()):,} rows")
    for reason, times in reasons.items():
        say(f"  {times:>9,}  {reason}")
    if reasons:
        say(
            f"They are in {rejects}" if rejects else "Give the command again with --rejects FILE to have them in a file"
        )


async def _check(cells: Cells) -> list[Check]:
    checks = await check_counts(cells)
    for number, check in enumerate(checks):
        verdict = f"wrong for {check.wrong:,} of" if check.wrong else "right for all"
        say(f"Counters of cell {number} are {verdict} {check.accounts:,} accounts")
    return checks


@contextlib.asynccontextmanager
async def find_cells(settings: Settings) -> AsyncIterator[tuple[str, ...]]:
    """Give the addresses of the cells; where none is configured and nothing runs, PostgreSQL runs meanwhile."""
    async with open_addresses(settings, parts=frozenset({Part.POSTGRES}), report=say) as addresses:
        if not settings.is_production:
            await migrate(addresses.postgres_dsns, say)
        yield addresses.postgres_dsns


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m storage.import_graph", description="Load people and follows.")
    parser.add_argument("users", type=Path, nargs="?", help="CSV: id, username and optional profile columns")
    parser.add_argument("follows", type=Path, nargs="?", help="CSV: follower_id, followee_id, optional followed_at")
    parser.add_argument("--graph", type=Path, help="instead of the two: user_a, user_b that follow each other")
    parser.add_argument("--source", help="the service that the ids are from, if there are several")
    parser.add_argument("--rejects", type=Path, help="a file for the rows that are not loaded, with reasons")
    parser.add_argument("--batch", type=int, default=BATCH, help=f"rows per transaction ({BATCH})")
    arguments = parser.parse_args()
    if (arguments.graph is None) != (arguments.follows is not None) or (arguments.graph and arguments.users):
        parser.error("give users.csv and follows.csv, or --graph and one file")
    if not 1 <= arguments.batch <= _MAX_BATCH:
        parser.error(f"--batch lies between 1 and {_MAX_BATCH}")
    return arguments


async def _main(settings: Settings, arguments: argparse.Namespace) -> int:
    files = EdgeList(arguments.graph) if arguments.graph else TwoFiles(arguments.users, arguments.follows)
    source = arguments.source or (arguments.graph.name.partition(".")[0] if arguments.graph else "default")
    run_key(files, source)  # a file that is missing or has wrong columns is told of before anything is started
    async with find_cells(settings) as dsns, open_import(dsns) as cells:
        checks = await import_files(cells, files, source=source, batch=arguments.batch, rejects=arguments.rejects)
    return _FAILED if any(check.wrong for check in checks) else 0


def _fail(sentence: str, status: int) -> int:
    sys.stderr.write(f"kith: {sentence}\n")
    return status


def _run() -> int:
    settings, arguments = load_or_exit(), _arguments()
    try:
        return asyncio.run(_main(settings, arguments))
    except ImportFileError as error:
        return _fail(str(error), _MISUSED)
    except KeyboardInterrupt:
        return _fail("stopped; give the same command again to go on.", _STOPPED)
    except (AnotherImport, EmbeddedError, MigrationError) as error:
        return _fail(str(error), _FAILED)
    except asyncpg.UndefinedTableError:
        return _fail("the database is older than this version; run `python -m storage.migrate` first.", _FAILED)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        return _fail(f"the import stopped ({type(error).__name__}); give the same command again to go on.", _FAILED)


if __name__ == "__main__":
    # Rows make no cycles: looking for some in each batch again and again takes a fifth of the time.
    gc.set_threshold(1_000_000)
    raise SystemExit(_run())
