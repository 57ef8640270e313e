"""Keep children alive: restart what dies, stop everything in order."""

import asyncio
from collections.abc import Callable
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import Self

from embedded.child import Child
from embedded.errors import EmbeddedError
from embedded.keeper import Keeper
from embedded.roster import Roster

Report = Callable[[str], None]
OnReady = Callable[[str, int], None]


def ignore_ready(_name: str, _pid: int) -> None:
    """Ignore that a child is ready."""


class Supervisor:
    """Start children, restart those that die, stop all of them at the end.

    `on_ready(name, pid)` is called after every successful start, restarts included; `report` gets a line for people.
    Neither may raise. With a roster, a run that was killed can be cleared up by the next one.
    """

    def __init__(self, *, report: Report, roster: Roster | None = None, on_ready: OnReady = ignore_ready) -> None:
        self._report = report
        self._roster = roster
        self._on_ready = on_ready
        self._keepers: dict[str, Keeper] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def spawn(self, child: Child) -> None:
        """Start a child and wait until it is ready; from then on it is kept alive.

        Raises ChildFailed, with the end of its log, when it does not become ready.
        """
        if child.name in self._keepers:
            raise EmbeddedError(f"{child.name} is started already.")
        keeper = Keeper(child, report=self._report, note=self._note, on_ready=self._on_ready)
        self._keepers[child.name] = keeper
        try:
            await keeper.start()
        except BaseException:
            del self._keepers[child.name]
            raise

    def pid(self, name: str) -> int | None:
        """Return the process id of a child; None while it is down. Raises KeyError for an unknown name."""
        return self._keepers[name].pid

    async def stop(self, name: str) -> None:
        """Stop one child for good. Raises KeyError for an unknown name."""
        await self._keepers.pop(name).stop()

    async def restart(self, name: str) -> None:
        """Stop one child and start it anew.

        Raises KeyError for an unknown name, and ChildFailed when it does not become ready; it is tried again then.
        """
        await self._keepers[name].restart()

    async def close(self) -> None:
        """Stop all children, the highest stage first."""
        by_stage = sorted(self._keepers.values(), key=attrgetter("stage"), reverse=True)
        for _, same in groupby(by_stage, key=attrgetter("stage")):
            await asyncio.gather(*(keeper.stop() for keeper in same))
        self._keepers.clear()

    def _note(self, child: Child, pid: int | None) -> None:
        if self._roster is not None:
            self._roster.note(child.name, pid, child.stop_signal)
