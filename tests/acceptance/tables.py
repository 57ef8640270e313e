"""What a run has written: the tables of its cells, beside the API."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Final

from domain.ids import OpaqueIds
from embedded.configured import find_addresses
from keys import load_keys
from settings import load
from storage.cells import ShardMap, open_cells
from tests.acceptance.main_job import MainJob
from tests.acceptance.people import Person

_WRITTEN: Final = """
SELECT (SELECT policy FROM users WHERE username = $1) AS policy,
       (SELECT version FROM users WHERE username = $1) AS version,
       (SELECT count(*) FROM audit_logs a JOIN users u ON u.id = a.actor_id WHERE u.username = $1) AS audit,
       (SELECT count(*) FROM outbox WHERE aggregateid = $2) AS events,
       (SELECT sum(r.version) FROM relationships r JOIN users u ON u.id = r.owner_id WHERE u.username = $1) AS pairs,
       (SELECT count(*) FILTER (WHERE mutes) FROM relationships r JOIN users u ON u.id = r.owner_id
        WHERE u.username = $1) AS mutes
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Tables:
    """The cells of a run, and the codec of its ids."""

    shards: ShardMap
    ids: OpaqueIds

    async def written(self, person: Person) -> list[tuple[object, ...]]:
        """Sum up what is written of a person in each cell: equal sums mean that nothing was written."""
        return [tuple(row) for cell in self.shards.cells for row in await cell.fetch(_WRITTEN, person.name, person.id)]


@contextlib.asynccontextmanager
async def open_tables(job: MainJob) -> AsyncIterator[Tables]:
    """Open the cells of a run."""
    settings = load({"KITH_DATA_DIR": str(job.data_dir)})
    async with open_cells(find_addresses(settings).postgres_dsns) as shards:
        yield Tables(shards, OpaqueIds(load_keys(settings).opaque_ids))
