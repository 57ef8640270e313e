"""The Kafka-compatible broker from a wheel, on the loopback interface; it keeps everything in memory."""

import asyncio
import random
import signal
import socket
import struct
from contextlib import suppress
from pathlib import Path

from embedded import wheels
from embedded.addresses import Part
from embedded.child import Child
from embedded.errors import EmbeddedError

HOST = "127.0.0.1"
STAGE = 2
PROBE_TIMEOUT = 2.0
# Below the range that systems give to outgoing connections, so that nobody takes the port while the broker restarts.
PORTS = range(20_000, 32_000)
ATTEMPTS = 50
API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)


def address(port: int) -> str:
    """Return the bootstrap address."""
    return f"{HOST}:{port}"


def free_port() -> int:
    """Find a free port.

    Raises EmbeddedError when there is none to be found.
    """
    for port in random.sample(PORTS, ATTEMPTS):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise EmbeddedError(f"No free port found between {PORTS.start} and {PORTS.stop} on {HOST}.")


def child(*, data_dir: Path, port: int) -> Child:
    """Describe the broker of a data folder."""
    url = f"tcp://{address(port)}"
    return Child(
        name=Part.BROKER.value,
        argv=(
            str(wheels.broker()),
            "broker",
            f"--listener-url={url}",
            f"--advertised-listener-url={url}",
            "--storage-engine=memory://kith/",
        ),
        log=data_dir / "logs" / "broker.log",
        env={"RUST_LOG": "warn"},
        # It reads a `.env` file from the folder it is started in.
        cwd=Path("/"),
        ready=lambda: _answers(port),
        stop_signal=signal.SIGTERM,
        stop_timeout=1.0,
        stage=STAGE,
    )


async def _answers(port: int) -> bool:
    with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(PROBE_TIMEOUT):
            return await _asks_versions(port)
    return False


async def _asks_versions(port: int) -> bool:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(struct.pack(">i", len(API_VERSIONS)) + API_VERSIONS)
        size, correlation = struct.unpack(">ii", await reader.readexactly(8))
        return bool(size > 0 and correlation == 1)
    finally:
        writer.close()
        await writer.wait_closed()
