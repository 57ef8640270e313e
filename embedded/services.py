"""Open the parts that a run needs, and close them in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded import broker, cluster, postgres, valkey
from embedded.addresses import ALL_PARTS, Addresses, Part
from embedded.child import Child
from embedded.errors import EmbeddedError
from embedded.folders import open_data_dir, open_sockets_folder, remove_sockets_folder
from embedded.lock import DataLock
from embedded.roster import Roster
from embedded.supervisor import OnReady, Report, Supervisor, ignore_ready


class Services:
    """Run the parts below a data folder, for as long as the context is open.

    Entering raises AlreadyRunning when another run owns the folder, and EmbeddedError, with the end of its log,
    when a part does not start. A part that dies later is started again on the same address. `on_ready(name, pid)` is
    called after every start of a part or child, restarts included.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        cells: int = 1,
        instances: bool = False,
        parts: frozenset[Part] = ALL_PARTS,
        report: Report = print,
        on_ready: OnReady = ignore_ready,
    ) -> None:
        self._data_dir = data_dir
        self._cells = cells
        self._instances = instances
        self._parts = parts
        self._report = report
        self._on_ready = on_ready
        self._stack = AsyncExitStack()
        self.addresses = Addresses()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            try:
                await self._open(stack)
            except OSError as error:
                raise EmbeddedError(f"The parts cannot be run from {self._data_dir}: {error}") from error
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def spawn(self, child: Child) -> None:
        """Start one more child and keep it alive; it is stopped before the parts are.

        Raises ChildFailed when it does not become ready.
        """
        await self._supervisor.spawn(child)

    def pid(self, name: Part | str) -> int | None:
        """Return the process id of a part or child; None while it is down. Raises KeyError for an unknown name."""
        return self._supervisor.pid(name.value if isinstance(name, Part) else name)

    def announce(self, address: str) -> None:
        """Record the web address, for the message that a second run gets."""
        self._lock.announce(address)

    async def _open(self, stack: AsyncExitStack) -> None:
        data_dir = self._data_dir = open_data_dir(self._data_dir)
        self._lock = DataLock(data_dir)
        stack.callback(self._lock.release)
        roster = Roster(data_dir / "children.json")
        await roster.settle(self._report)
        self._sockets = open_sockets_folder(data_dir)
        stack.callback(remove_sockets_folder, data_dir)
        supervisor = Supervisor(report=self._report, roster=roster, on_ready=self._on_ready)
        self._supervisor = await stack.enter_async_context(supervisor)
        self.addresses = await self._start_parts()
        stack.callback(self._lock.withdraw)
        self._lock.publish(self.addresses)

    async def _start_parts(self) -> Addresses:
        async with _together() as group:
            dsns = group.create_task(self._start_postgres())
            redis = group.create_task(self._start_valkey())
            kafka = group.create_task(self._start_broker())
        return Addresses(postgres_dsns=dsns.result(), redis_url=redis.result(), kafka_bootstrap=kafka.result())

    async def _start_postgres(self) -> tuple[str, ...]:
        if Part.POSTGRES not in self._parts:
            return ()
        self._report(f"Starting {Part.POSTGRES.value}")
        plan = postgres.plan(
            data_dir=self._data_dir, sockets=self._sockets, cells=self._cells, instances=self._instances
        )
        programs = await postgres.find_programs(sockets=self._sockets, log=plan[0].log)
        cluster.private_folder(plan[0].sockets)
        async with _together() as group:
            for instance in plan:
                group.create_task(self._start_instance(instance, programs))
        return tuple(instance.dsn(name) for instance in plan for name in instance.databases)

    async def _start_instance(self, instance: postgres.Instance, programs: Path) -> None:
        if not instance.folder.exists():
            self._report(f"Creating the data folder of {instance.name} (once)")
            await cluster.create(instance.folder, programs=programs, log=instance.log)
        await self._supervisor.spawn(postgres.child(instance, programs))
        await postgres.ensure_databases(instance)

    async def _start_valkey(self) -> str:
        if Part.VALKEY not in self._parts:
            return ""
        self._report(f"Starting {Part.VALKEY.value}")
        await self._supervisor.spawn(valkey.child(data_dir=self._data_dir, sockets=self._sockets))
        return valkey.address(self._sockets)

    async def _start_broker(self) -> str:
        if Part.BROKER not in self._parts:
            return ""
        self._report(f"Starting {Part.BROKER.value}")
        port = broker.free_port()
        await self._supervisor.spawn(broker.child(data_dir=self._data_dir, port=port))
        return broker.address(port)


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """Run tasks side by side; the first failure stops the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        ours = (error for error in errors.exceptions if isinstance(error, EmbeddedError))
        raise next(ours, errors.exceptions[0]) from None
