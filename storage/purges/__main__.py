"""Certificates of erasure, looked after: `python -m storage.purges verify`, `key`, `reapply` or `acknowledge`."""

import argparse
import asyncio
import contextlib
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from domain.certificates import Certificate, CertificateSigner, NotGenuine
from domain.departures import GRACE
from domain.digests import Digests
from domain.errors import Overloaded
from domain.ids import NodeType, OpaqueIds
from domain.users import UserState
from embedded.configured import find_addresses
from keys import load_keys
from settings import Settings, leaving_on_bad_settings, load_or_exit
from storage.cells import open_cells
from storage.database import Database
from storage.deletions import delete_account, make_due
from storage.freshness import open_freshness
from storage.purges.purging import acknowledge, fetch_certificate
from storage.redis_client import open_redis
from storage.users import fetch_state

GOOD: Final = 0
BAD: Final = 1

Say = Callable[[str], None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m storage.purges", description="Look after certificates of erasure.")
    commands = parser.add_subparsers(dest="command", required=True)
    verify = commands.add_parser("verify", help="check that a certificate is as it was signed")
    verify.add_argument("certificate", metavar="FILE|ID", help="a file, or the id of one that is kept in the database")
    commands.add_parser("key", help="show the public key with which anybody can check certificates")
    again = commands.add_parser("reapply", help="after a backup was restored: purge again whom certificates name")
    again.add_argument("folder", type=Path, help="where KITH_CERTIFICATES_DIR has kept them, outside of the backup")
    stand_in = commands.add_parser("acknowledge", help="say for a consumer that it has erased what it kept")
    stand_in.add_argument("user", help="the id of the person, as other services know it")
    stand_in.add_argument("consumer", help="its name in KITH_ERASURE_CONSUMERS")
    return parser


async def check(database: Database, signer: CertificateSigner, name: str, say: Say) -> int:
    """Check one certificate, and say what it says."""
    document = await _document(database, name)
    if document is None:
        say("there is no such certificate")
        return BAD
    try:
        certificate = signer.read(document)
    except NotGenuine as error:
        say(f"WRONG: {error}")
        return BAD
    say(f"certificate {certificate.id} is genuine: {certificate.user_id} was purged at {certificate.purged_at}")
    for store in certificate.stores:
        say(f"  {store.rows:8}  {store.store}: {store.statement}")
    say(f"  acknowledged by {', '.join(certificate.acknowledged_by)}")
    return GOOD


async def _document(database: Database, name: str) -> str | None:
    path = Path(name)
    if await asyncio.to_thread(path.is_file):
        return await asyncio.to_thread(path.read_text)
    with contextlib.suppress(ValueError):
        return await fetch_certificate(database, uuid.UUID(name))
    return None


async def reapply(database: Database, signer: CertificateSigner, folder: Path, say: Say) -> int:
    """Have everybody purged again whom a certificate of the folder names and who is there; gives whether all was read.

    They are deleted at once, and the purge is due: it runs with upkeep, and writes new certificates.
    """
    status, again = GOOD, 0
    for path in sorted(await asyncio.to_thread(lambda: list(folder.glob("*.json")))):
        try:
            certificate = signer.read(await asyncio.to_thread(path.read_text))
        except NotGenuine:
            say(f"WRONG: {path.name} is not as it was signed, and is passed over")
            status = BAD
        else:
            again += await _purge_again(database, certificate)
    say(f"{again} people are there again, and are being purged")
    return status


async def _purge_again(database: Database, certificate: Certificate) -> bool:
    user_id = database.ids.decode(NodeType.USER, certificate.user_id)
    state = await fetch_state(database, user_id) if user_id is not None else None
    if user_id is None or state is None or state is UserState.PURGED:
        return False
    await delete_account(database, user_id, certificate.purged_at - GRACE)
    await make_due(database, user_id, certificate.purged_at)
    return True


@contextlib.asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Database]:
    addresses, keys = find_addresses(settings), load_keys(settings)
    async with (
        open_cells(addresses.postgres_dsns, connections=2) as shards,
        open_redis(addresses.redis_url) as redis,
        open_freshness(shards, redis) as freshness,
    ):
        yield Database(shards, OpaqueIds(keys.opaque_ids), freshness, digests=Digests(keys.audit_digests))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


async def _main(settings: Settings) -> int:
    arguments = _parser().parse_args()
    signer = CertificateSigner(load_keys(settings).certificates)
    if arguments.command == "key":
        _say(signer.public_key)
        return GOOD
    async with _opened(settings) as database:
        if arguments.command == "verify":
            return await check(database, signer, arguments.certificate, _say)
        if arguments.command == "reapply":
            return await reapply(database, signer, arguments.folder, _say)
        user_id = database.ids.decode(NodeType.USER, arguments.user)
        if user_id is None:
            _say("this is not the id of a person")
            return BAD
        await acknowledge(database, user_id, arguments.consumer)
        return GOOD


if __name__ == "__main__":
    with leaving_on_bad_settings():
        try:
            raise SystemExit(asyncio.run(_main(load_or_exit())))
        except Overloaded as error:
            sys.stderr.write(f"kith: {error}\n")
            raise SystemExit(BAD) from None
