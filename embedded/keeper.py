"""Keep one child alive."""

import asyncio
import random
from asyncio.subprocess import Process
from collections.abc import Callable
from time import monotonic

from embedded.child import Child, how_it_ended, launch, stop, wait_ready
from embedded.errors import ChildFailed, EmbeddedError
from embedded.logs import last_lines, size

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
STEADY_AFTER = 10.0
JITTER = 0.2


class Keeper:
    """Start a child, start it again (0.1 s to 5 s later) whenever it dies, and stop it in the end."""

    def __init__(
        self,
        child: Child,
        *,
        report: Callable[[str], None],
        note: Callable[[Child, int | None], None],
        on_ready: Callable[[str, int], None],
    ) -> None:
        self._child = child
        self._report = report
        self._note = note
        self._on_ready = on_ready
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def stage(self) -> int:
        """Its place in the order of stopping."""
        return self._child.stage

    @property
    def pid(self) -> int | None:
        """The process id; None while the child is down."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the child for the first time.

        Raises ChildFailed when it does not become ready.
        """
        process = await self._bring_up()
        self._task = asyncio.create_task(self._keep(process), name=f"keep {self._child.name}")

    async def stop(self) -> None:
        """Stop the child for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._bring_down()

    async def restart(self) -> None:
        """Stop the child and start it anew.

        Raises ChildFailed when it does not become ready; it is tried again from then on.
        """
        await self.stop()
        try:
            await self.start()
        except ChildFailed:
            self._task = asyncio.create_task(self._keep(None), name=f"keep {self._child.name}")
            raise

    async def _keep(self, process: Process | None) -> None:
        delay = FIRST_DELAY
        while True:
            began = monotonic()
            process, reason = await (self._try_again() if process is None else self._watch(process))
            if monotonic() - began > STEADY_AFTER:
                delay = FIRST_DELAY
            if process is None:
                self._report(f"{self._child.name} is down: {reason}; starting it again in {delay:.1f} s")
                await asyncio.sleep(_jittered(delay))
                delay = min(delay * 2, LONGEST_DELAY)

    async def _watch(self, process: Process) -> tuple[None, str]:
        returncode = await process.wait()
        await self._bring_down()
        return None, how_it_ended(returncode)

    async def _try_again(self) -> tuple[Process | None, str]:
        try:
            return await self._bring_up(), ""
        except ChildFailed as error:
            return None, " - ".join([error.reason, *error.quoted.splitlines()[-1:]])
        except (EmbeddedError, OSError) as error:
            return None, str(error)

    async def _bring_up(self) -> Process:
        began, logged = monotonic(), size(self._child.log)
        self._process = process = await launch(self._child)
        try:
            self._note(self._child, process.pid)
            ready = await wait_ready(self._child, process)
        except BaseException:
            await self._bring_down()
            raise
        if not ready:
            raise await self._failure(process, since=logged)
        self._report(f"{self._child.name} ready in {monotonic() - began:.2f} s")
        self._on_ready(self._child.name, process.pid)
        return process

    async def _failure(self, process: Process, *, since: int) -> ChildFailed:
        reason = how_it_ended(process.returncode)
        await self._bring_down()
        quoted = last_lines(self._child.log, since=since)
        return ChildFailed(self._child.name, reason, self._child.log, quoted)

    async def _bring_down(self) -> None:
        process = self._process
        if process is None:
            return
        if not await stop(self._child, process):
            self._report(f"{self._child.name} did not stop in {self._child.stop_timeout:g} s and was killed")
        self._process = None
        self._note(self._child, None)


def _jittered(delay: float) -> float:
    return delay * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
