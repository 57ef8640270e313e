"""What one operation reads of a key stays the same in it, whatever becomes of what is remembered."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from loaders.asker import NO_FLOORS, Asker
from loaders.batches import Batch
from loaders.loader import Loader

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Waiting(Batch[int, int]):
    """Has something happen while it is waited for."""

    meanwhile: Callable[[], object]

    async def wait(self) -> None:
        self.meanwhile()
        await super().wait()


class Changing:
    """Remembers some keys, whose values change with each look; the others are read, while something else happens."""

    missing = 0

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.remembered = {1, 2, 3}
        self.meanwhile = meanwhile
        self.looks = 0

    def recall(self, keys: Sequence[int]) -> list[int] | None:
        self.looks += 1
        return [key * 100 + self.looks for key in keys] if self.remembered.issuperset(keys) else None

    def gather(self, keys: Sequence[int], found: dict[int, int]) -> None:
        found.update({key: key * 100 + self.looks for key in keys if key in self.remembered})

    def ask(self, keys: Sequence[int], *, direct: bool) -> Mapping[int, Batch[int, int]]:
        batch = Waiting(direct=direct)
        batch.meanwhile = self.meanwhile
        batch.succeed({key: -key for key in keys})
        return dict.fromkeys(keys, batch)


def loader_of(reader: Changing) -> Loader[int, int]:
    asker = Asker(cast("Any", None), None, NOW, NO_FLOORS, begun=True, epoch=b"")
    return Loader(asker, reader)


async def test_what_was_recalled_stays_whatever_is_asked_for_next() -> None:
    loader = loader_of(Changing())
    assert loader.recall([1, 2]) == [101, 201]
    assert loader.recall([1, 2]) == [101, 201]
    assert loader.recall([2, 3]) == [201, 302], "of two keys one was known"
    assert loader.recall([1]) == [101]
    assert await loader.load_many([3, 9, 1]) == [302, -9, 101]
    assert loader.recall([9, 2]) == [-9, 201]


async def test_what_others_recall_while_it_is_waited_for_stays_too() -> None:
    recalled: list[int] = []

    def recall() -> None:
        reader.remembered.add(4)
        recalled.extend(loader.recall([4]) or ())

    reader = Changing(meanwhile=recall)
    loader = loader_of(reader)
    assert await loader.load_many([9, 4]) == [-9, *recalled]
    assert recalled
