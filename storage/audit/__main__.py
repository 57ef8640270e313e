"""Check the audit log of every cell: `python -m storage.audit verify`. Ends with 1 where something is wrong."""

import argparse
import asyncio
import sys

from domain.errors import Overloaded
from embedded.configured import find_addresses
from keys import load_keys
from settings import Settings, leaving_on_bad_settings, load_or_exit
from storage.audit.seals import Sealer
from storage.audit.verifying import Finding, verify
from storage.cells import open_cells


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m storage.audit", description="Check the audit log.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="check every row against its seal, and name the first bad one")
    check.add_argument(
        "--known",
        action="append",
        default=[],
        metavar="CELL:NUMBER:ROOT",
        help="a root that an earlier check printed, and that must be at least reached: kept elsewhere, it shows that "
        "the end of the log was cut off",
    )
    return parser


def report(cell: int, finding: Finding) -> list[str]:
    """Say what a check of a cell came to."""
    lines = [f"cell {cell}: {finding.rows} rows are as they were sealed"]
    if finding.newest is not None:
        lines.append(f"cell {cell}: root {cell}:{finding.newest.number}:{finding.newest.root.hex()}")
    if finding.fault is not None:
        lines.append(f"cell {cell}: WRONG: {finding.fault}")
    return lines


async def _main(settings: Settings, known: dict[int, tuple[int, bytes]]) -> int:
    sealer = Sealer(load_keys(settings).audit_seals)
    good = True
    async with open_cells(find_addresses(settings).postgres_dsns, connections=1) as shards:
        for cell in shards.cells:
            finding = await verify(cell, sealer, known=known.get(cell.number))
            sys.stdout.write("\n".join(report(cell.number, finding)) + "\n")
            good = good and finding.fault is None
    return 0 if good else 1


def _read_known(texts: list[str]) -> dict[int, tuple[int, bytes]]:
    known = {}
    for text in texts:
        cell, number, root = text.split(":")
        known[int(cell)] = int(number), bytes.fromhex(root)
    return known


if __name__ == "__main__":
    arguments = _parser().parse_args()
    try:
        roots = _read_known(arguments.known)
    except ValueError:
        sys.exit("kith: --known is CELL:NUMBER:ROOT, as an earlier check printed it")
    with leaving_on_bad_settings():
        try:
            raise SystemExit(asyncio.run(_main(load_or_exit(), roots)))
        except Overloaded as error:
            sys.exit(f"kith: {error}")
