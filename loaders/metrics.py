"""What the loaders count."""

import functools
from typing import Final

from prometheus_client import Counter, Gauge

READ: Final = Counter("kith_facts_total", "Facts read, by kind and by where they were found.", ["kind", "where"])
"""`memory` counts what an operation found at once, `redis` and `cells` what was read there."""
DIRECT: Final = Counter("kith_operations_direct_total", "Operations that used nothing remembered: Redis was away.")
MEMORY_OFF: Final = Gauge("kith_memory_off", "1 while memory is not used, because changes have been unheard too long.")


@functools.cache
def reads(kind: str, where: str) -> Counter:
    """Give what counts the facts of one kind that were found in one place; both are of closed sets."""
    return READ.labels(kind, where)
