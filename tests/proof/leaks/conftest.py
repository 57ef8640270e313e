"""The service that these tests look at: two cells, so that a pair has its sides in different places."""

import dataclasses
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from embedded import Addresses
from tests.conftest import KEY
from tests.proof.leaks.service import Service, open_service

LONG = os.environ.get("PROVE") == "long"


@pytest.fixture(scope="package")
async def service(addresses: Addresses, short_folder: Path) -> AsyncIterator[Service]:
    """Run the service on the two cells that live together."""
    on_two_cells = dataclasses.replace(addresses, postgres_dsns=addresses.postgres_dsns[1:])
    async with open_service(on_two_cells, short_folder / "leaks", KEY) as opened:
        yield opened
