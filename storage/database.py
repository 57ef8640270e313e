"""What the storage functions work on."""

import dataclasses

from domain.ids import OpaqueIds
from storage.cells import ShardMap
from storage.freshness import Freshness, NothingRemembered
from storage.replicas import Replicas


@dataclasses.dataclass(frozen=True, slots=True)
class Database:
    """The cells and their replicas, the key under which ids leave them, and who is told of changes."""

    shards: ShardMap
    ids: OpaqueIds
    freshness: Freshness = dataclasses.field(default_factory=NothingRemembered)
    replicas: Replicas = dataclasses.field(default_factory=Replicas)
