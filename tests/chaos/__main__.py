"""`make chaos`: run the faults of a seed, and print one line of JSON.

The status is 1 where something was lost, or where it took half a minute to have everything after the last fault.
"""

import argparse
import asyncio
import dataclasses
import json
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.chaos.run import Plan, run, say

DRAINED_WITHIN_S: Final = 30.0


def main() -> int:
    """Run a plan."""
    parser = argparse.ArgumentParser(prog="make chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="repeats a run's schedule")
    parser.add_argument("--mutations", type=int, default=Plan.mutations)
    parser.add_argument("--kills", type=int, default=Plan.kills, help="of each part but the broker")
    parser.add_argument("--broker-kills", type=int, default=Plan.broker_kills)
    parser.add_argument("--frozen", type=float, default=Plan.frozen_s, help="seconds that the broker is frozen")
    given = parser.parse_args()
    plan = Plan(
        given.seed,
        mutations=given.mutations,
        kills=given.kills,
        broker_kills=given.broker_kills,
        frozen_s=given.frozen,
    )
    say(f"seed {plan.seed}")
    with tempfile.TemporaryDirectory(prefix="kc-", ignore_cleanup_errors=True) as folder:
        figures = asyncio.run(run(plan, Path(folder) / "r"))
    sys.stdout.write(json.dumps(dataclasses.asdict(figures)) + "\n")
    return 0 if figures.is_flawless and figures.drained_s < DRAINED_WITHIN_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
