"""Run measurements, each on parts of its own in a folder of its own, and print one table: `make bench`.

`make bench ARGS="plans load"` runs those alone. The comparison over HTTP (`peers`) takes half an hour and is run only
where it is named. These machines are noisy: medians are printed, and costs as ratios to something else that is measured
in the same run, in turn.
"""

import asyncio
import functools
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.audit import measure_audit
from benchmarks.load import measure_load
from benchmarks.notifications import measure_notifications
from benchmarks.outage import measure_outage
from benchmarks.overload import measure_overload
from benchmarks.peers import compare
from benchmarks.plans import measure_plans
from benchmarks.requests import measure_requests
from benchmarks.shown_counts import measure_shown_counts
from benchmarks.sign_ins import measure_sign_ins
from benchmarks.start import measure_start

Rows = list[tuple[str, str]]
Measure = Callable[[Path], Awaitable[Rows]]
_PEERS: Final = "peers"
_MEASURES: Final[dict[str, Measure]] = {
    "start": measure_start,
    "plans": measure_plans,
    "requests": measure_requests,
    "shown-counts": measure_shown_counts,
    "notifications": measure_notifications,
    "audit": measure_audit,
    "load": functools.partial(measure_load, rate=None, requests=2000, runs=1),
    "overload": measure_overload,
    "outage": measure_outage,
    "sign-ins": measure_sign_ins,
}


async def _main(names: Sequence[str]) -> int:
    unknown = sorted(set(names) - {*_MEASURES, _PEERS})
    if unknown:
        sys.stderr.write(f"There is nothing to measure by the name {unknown[0]}; there are {', '.join(_MEASURES)}.\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="kb-", ignore_cleanup_errors=True) as folder:
        for name, measure in _MEASURES.items():
            if name in names or not names:
                await _print(measure, Path(folder) / name)
    return await compare([]) if _PEERS in names else 0


async def _print(measure: Measure, folder: Path) -> None:
    for name, figure in await measure(folder):
        sys.stdout.write(f"{name:80} {figure:>24}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(_main(sys.argv[1:])))
