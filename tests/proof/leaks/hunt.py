"""`python -m tests.proof.leaks.hunt`: walk through every door in every experiment; exit status 1 where one differs."""

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
from pathlib import Path

from schema.schema import SCHEMA
from storage.migrate import migrate
from tests.proof.leaks.doors import Doors, rest_doors, walks
from tests.proof.leaks.leaks import LEAKS
from tests.proof.leaks.service import open_service
from tests.proof.leaks.walker import EXPERIMENTS, Report, run
from tests.services import open_services


def show(report: Report, *, quiet: bool) -> None:
    """Print one line per door."""
    for door in report.doors:
        new = [difference for difference in report.unknown if difference.door == door.label]
        known = any(difference.door == door.label for difference in report.differences)
        if new or not quiet:
            verdict = "DIFFERENT" if new else "known" if known else "equal"
            sys.stdout.write(f"{verdict:9}  {report.experiment.name}: {door.label}\n")
        for difference in new:
            sys.stdout.write(
                f"             {difference.aspect} {difference.where}: {difference.before} -> {difference.after}\n"
            )


async def hunt(arguments: argparse.Namespace) -> int:
    """Run the experiments that were asked for, with a leak where one was."""
    doors = Doors(SCHEMA._schema, nested=1)
    chosen = [EXPERIMENTS[name] for name in arguments.only or EXPERIMENTS]
    different = known = total = 0
    paths = set()
    with tempfile.TemporaryDirectory(prefix="kt-") as folder:
        async with open_services(Path(folder) / "parts", cells=2) as addresses:
            await migrate(addresses.postgres_dsns, lambda _line: None)
            async with open_service(addresses, Path(folder) / "own", secrets.token_bytes(32)) as service:
                with LEAKS[arguments.leak]() if arguments.leak else contextlib.nullcontext():
                    for experiment in chosen:
                        tried = [*doors.all(while_blocking=experiment.viewer_blocks), *walks((1, 2, 3)), *rest_doors()]
                        report = await run(service, experiment, tried)
                        show(report, quiet=arguments.quiet)
                        total += len(report.doors)
                        paths |= report.paths
                        different += len({difference.door for difference in report.unknown})
                        known += len({difference.door for difference in report.differences})
    sys.stdout.write(
        f"{len(paths)} of {len(doors.paths)} paths, {len(chosen)} experiments, {total} doors tried in two worlds, "
        f"{different} different, {known - different} differ as known\n"
    )
    return 1 if different else 0


def main() -> int:
    """Read the arguments and hunt."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.leaks.hunt", description=__doc__)
    parser.add_argument("--leak", choices=sorted(LEAKS), help="switch a deliberate leak on: it has to be found")
    parser.add_argument("--only", action="append", choices=list(EXPERIMENTS), help="run this experiment only")
    parser.add_argument("--quiet", action="store_true", help="show only doors that differ")
    return asyncio.run(hunt(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
