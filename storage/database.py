"""What the storage functions work on."""

import dataclasses

from domain.digests import Digests
from domain.ids import OpaqueIds
from storage.cells import ShardMap
from storage.freshness import Freshness, NothingRemembered
from storage.plain_cells import PlainCells
from storage.replicas import Replicas


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """The cells and replicas, the keys of ids that leave them and of the audit log, and who is told of changes."""

    shards: ShardMap
    ids: OpaqueIds
    freshness: Freshness = dataclasses.field(default_factory=NothingRemembered)
    replicas: Replicas = dataclasses.field(default_factory=Replicas)
    digests: Digests = dataclasses.field(default_factory=Digests.of_nobody)
    plain: PlainCells = dataclasses.field(default_factory=PlainCells)
