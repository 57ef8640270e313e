"""Valkey from a wheel, on a private socket."""

import asyncio
import signal
from pathlib import Path

from embedded import wheels
from embedded.addresses import Part
from embedded.child import Child

STAGE = 1
PROBE_TIMEOUT = 2.0


def address(sockets: Path) -> str:
    """Return the URL that redis-py takes."""
    return f"unix://{_socket(sockets)}"


def child(*, data_dir: Path, sockets: Path) -> Child:
    """Describe the Valkey of a data folder."""
    folder = data_dir / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    return Child(
        name=Part.VALKEY.value,
        argv=(str(wheels.valkey_server()), *_options(folder, sockets)),
        log=data_dir / "logs" / "valkey.log",
        env={},
        cwd=folder,
        ready=lambda: _answers(_socket(sockets)),
        stop_signal=signal.SIGTERM,
        stop_timeout=2.0,
        stage=STAGE,
    )


def _options(folder: Path, sockets: Path) -> tuple[str, ...]:
    options = {
        "port": "0",
        "unixsocket": str(_socket(sockets)),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": "256mb",
        # Only what was given a time to live may be dropped: a lost epoch would make stale facts valid again.
        "maxmemory-policy": "volatile-lru",
        "daemonize": "no",
    }
    return tuple(word for name, value in options.items() for word in (f"--{name}", value))


async def _answers(socket: Path) -> bool:
    """Ask for a sign of life; by hand, so that a probe that is cancelled at any point closes what it opened."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
    except OSError:
        return False


def _socket(sockets: Path) -> Path:
    return sockets / "redis.sock"
