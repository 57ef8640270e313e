"""Scripts that Redis runs, each known to it by the digest of its text from its first run on."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from storage.exchanges import Command
from storage.redis_client import Redis, ScriptUnknown

TOGETHER: Final = 64
"""How many entries one run does at most: whoever asks meanwhile waits for all of it."""
Call = tuple[tuple[str, ...], tuple[bytes | int, ...]]
"""The keys and the arguments of one entry."""


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """A script that does the same for each of the entries whose keys and arguments it gets, one after the other."""

    text: str
    digest: str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Compute by which name Redis knows it."""
        object.__setattr__(self, "digest", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


async def call_for_each(redis: Redis, *each: tuple[Script, Sequence[Call]]) -> None:
    """Run scripts for entries: many in each run, or where there are several servers each by itself.

    They may be run twice for the same entries: where one is not known yet, and some have run before that shows.

    Raises:
        CacheUnavailable: some may have been done.
    """
    size = 1 if redis.is_cluster else TOGETHER
    runs = [(script, _join(part)) for script, calls in each for part in _parts(calls, size)]
    try:
        await redis.exchange([("EVALSHA", script.digest, *run) for script, run in runs])
    except ScriptUnknown:
        await redis.exchange([("EVAL", script.text, *run) for script, run in runs])


def _parts(calls: Sequence[Call], size: int) -> Iterator[Sequence[Call]]:
    return (calls[at : at + size] for at in range(0, len(calls), size))


def _join(calls: Sequence[Call]) -> Command:
    keys = [key for keys, _ in calls for key in keys]
    return len(keys), *keys, *[argument for _, arguments in calls for argument in arguments]
