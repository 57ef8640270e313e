"""Partitions that are held up: a record failed, and is tried again after a growing pause, while the others go on."""

import dataclasses
import time
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from aiokafka import TopicPartition

from events.process import backoffs

Partition: TypeAlias = TopicPartition


@dataclasses.dataclass(slots=True)
class _Hold:
    """When the record at an offset is tried again."""

    offset: int
    pauses: Iterator[float]
    until: float = 0.0


class Holds:
    """Which partitions wait, and until when."""

    def __init__(self) -> None:
        self._holds: dict[Partition, _Hold] = {}

    def hold(self, partition: Partition, offset: int) -> None:
        """Hold a partition up at an offset, longer each time."""
        hold = self._holds.get(partition)
        if hold is None or hold.offset != offset:
            hold = self._holds[partition] = _Hold(offset, backoffs())
        hold.until = time.monotonic() + next(hold.pauses)

    def release(self, partition: Partition) -> None:
        """Forget what held a partition up."""
        self._holds.pop(partition, None)

    def keep_only(self, partitions: Iterable[Partition]) -> None:
        """Forget the partitions that others read now."""
        kept = set(partitions)
        self._holds = {partition: hold for partition, hold in self._holds.items() if partition in kept}

    def due(self) -> list[Partition]:
        """Give the partitions whose pause is over."""
        now = time.monotonic()
        return [partition for partition, hold in self._holds.items() if hold.until <= now]

    def next_due_in(self, at_most: float) -> float:
        """Give the seconds until the next pause is over."""
        waits = [hold.until - time.monotonic() for hold in self._holds.values()]
        return max(0.0, min([at_most, *(wait for wait in waits if wait > 0)]))
