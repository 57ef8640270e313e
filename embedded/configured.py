"""The addresses that a command works on: those that are set, or else those of the run that owns the data folder."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from embedded.addresses import Addresses, Part
from embedded.lock import running
from embedded.services import Services
from settings import Settings


def configured_addresses(settings: Settings) -> Addresses:
    """Give the addresses that are set; a part that is not set has an empty one."""
    return Addresses(
        postgres_dsns=settings.dsns,
        redis_url=settings.redis_address,
        kafka_bootstrap=settings.kafka_address,
    )


def missing_parts(addresses: Addresses) -> frozenset[Part]:
    """Name the parts that no address is set for: those that have to be run from wheels."""
    present = {
        Part.POSTGRES: addresses.postgres_dsns,
        Part.VALKEY: addresses.redis_url,
        Part.BROKER: addresses.kafka_bootstrap,
    }
    return frozenset(part for part, address in present.items() if not address)


def merged(first: Addresses, second: Addresses) -> Addresses:
    """Take each address from `first`, or from `second` where the first has none."""
    return Addresses(
        postgres_dsns=first.postgres_dsns or second.postgres_dsns,
        redis_url=first.redis_url or second.redis_url,
        kafka_bootstrap=first.kafka_bootstrap or second.kafka_bootstrap,
    )


def find_addresses(settings: Settings) -> Addresses:
    """Give every address a command needs, or print what to do and leave with status 2."""
    addresses = configured_addresses(settings)
    missing = missing_parts(addresses)
    if not missing:
        return addresses
    found = running(settings.data_dir)
    if found is None:
        names = ", ".join(sorted(part.value for part in missing))
        sys.stderr.write(f"kith: no address is set for {names} and nothing runs here; start `make run` first.\n")
        raise SystemExit(2)
    return merged(addresses, found)


@asynccontextmanager
async def open_addresses(
    settings: Settings, *, parts: frozenset[Part], report: Callable[[str], None]
) -> AsyncIterator[Addresses]:
    """Give the addresses of some parts: those that are set, those of the present run, or of parts run for the while.

    Raises EmbeddedError when a part does not start.
    """
    found = merged(configured_addresses(settings), running(settings.data_dir) or Addresses())
    missing = missing_parts(found) & parts
    if not missing:
        yield found
        return
    async with Services(settings.data_dir, cells=settings.cells, parts=missing, report=report) as services:
        yield merged(found, services.addresses)
