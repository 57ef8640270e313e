"""What the storage functions work on."""

import dataclasses

from domain.ids import OpaqueIds
from storage.cells import ShardMap


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """The cells, and the key under which ids leave them."""

    shards: ShardMap
    ids: OpaqueIds
