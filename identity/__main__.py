"""The process of the auth service: `python -m identity`."""

import argparse
import asyncio
import dataclasses
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import uvloop

from identity.addresses import find_dsn
from identity.app import FORM, make_app
from identity.internal import make_internal_app
from identity.parts import open_parts
from listeners import CannotListen, Door, bind, bind_internal, inherited, listening, port_of, read_certificate
from logs import configure_logs
from settings import Service, Settings, leaving_on_bad_settings, load_or_exit
from transport.connections import ConnectionCaps
from transport.serving import Serving, want_descriptors

LAST_S: Final = 12.0
"""When a service that cannot close what it works with ends all the same."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sockets:
    """What the service listens on: for everybody, and for the user service's questions."""

    public: Sequence[socket.socket]
    internal: Sequence[socket.socket] = ()


async def serve(settings: Settings, sockets: Sockets, tell: Callable[[], None], console: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, and then let running requests finish; calls `tell` once connections are taken.

    In development mails are shown on `console`, a descriptor.
    """
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    url = settings.identity_url or f"http://localhost:{port_of(sockets.public)}"
    # Where the address is not one of HTTPS, as in development, the certificate is the web server's alone.
    tls = read_certificate(settings) if url.startswith("https://") else None
    async with open_parts(settings, find_dsn(settings), url, console) as parts:
        caps = ConnectionCaps(settings.connections, settings.connections_per_address)
        want_descriptors(settings.connections)
        serving = Serving(make_app(parts), caps=caps, form=FORM, tls=tls)
        inner = Serving(make_internal_app(parts), caps=caps, form=FORM)
        await serving.start(sockets.public)
        await inner.start(sockets.internal)
        tell()
        await stop.wait()
        asyncio.get_running_loop().call_later(LAST_S + settings.drain_delay, os._exit, 1)
        await asyncio.gather(serving.stop(notice=settings.drain_delay), inner.stop(notice=settings.drain_delay))


def main(arguments: Sequence[str]) -> int:
    """Run the service; gives the exit status."""
    asked = _read(arguments)
    settings = load_or_exit(service=Service.IDENTITY)
    configure_logs()
    try:
        sockets = _sockets(settings, asked)
    except CannotListen as error:
        sys.stderr.write(f"kith: {error}\n")
        return 1
    with leaving_on_bad_settings(), listening(sockets.public), listening(sockets.internal):
        told = asked.serves.touch if asked.serves is not None else lambda: None
        uvloop.run(serve(settings, sockets, told, asked.console))
    return 0


def _sockets(settings: Settings, asked: argparse.Namespace) -> Sockets:
    """Take what was handed on, or else bind; questions are heard only where a port says so."""
    if asked.listen is not None:
        return Sockets(inherited(asked.listen), inherited(asked.internal) if asked.internal else ())
    is_asked = settings.identity_internal_port is not None
    inner = bind_internal(settings, Door.IDENTITY_INTERNAL) if is_asked else ()
    return Sockets(bind(settings, Door.IDENTITY), inner)


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m identity", description="Run the auth service.")
    parser.add_argument("--listen", metavar="FD,…", help="listening sockets that were handed on")
    parser.add_argument("--internal", metavar="FD,…", help="the same, for the user service's questions")
    parser.add_argument("--console", metavar="FD", type=int, help="a terminal that was handed on, to show mails on")
    parser.add_argument("--serves", metavar="FILE", type=Path, help="a file to make once connections are accepted")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
