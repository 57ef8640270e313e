"""Valkey from a wheel, on a private socket."""

import signal
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from embedded import wheels
from embedded.addresses import Part
from embedded.child import Child

STAGE = 1
PROBE_TIMEOUT = 2.0
ONCE = Retry(NoBackoff(), retries=0)


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
        ready=lambda: _answers(address(sockets)),
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


async def _answers(url: str) -> bool:
    client = Redis.from_url(url, socket_timeout=PROBE_TIMEOUT, socket_connect_timeout=PROBE_TIMEOUT, retry=ONCE)
    try:
        return bool(await client.ping())
    except (RedisError, OSError):
        return False
    finally:
        await client.aclose()


def _socket(sockets: Path) -> Path:
    return sockets / "redis.sock"
