"""Run all measurements, each on parts of its own in a folder of its own, and print one table: `make bench`.

These machines are noisy: medians are printed, and costs of requests as ratios to a bare aiohttp server that answers a
constant, measured in the same run, in turn.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.notifications import measure_notifications
from benchmarks.plans import measure_plans
from benchmarks.requests import measure_requests
from benchmarks.start import measure_start

Row = tuple[str, str]


async def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="kb-", ignore_cleanup_errors=True) as folder:
        for measure in (measure_start, measure_plans, measure_requests, measure_notifications):
            await _print(measure, Path(folder) / measure.__name__)


async def _print(measure: Callable[[Path], Awaitable[list[Row]]], folder: Path) -> None:
    for name, figure in await measure(folder):
        sys.stdout.write(f"{name:80} {figure:>16}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main())
