"""The process of the auth service: `python -m identity`."""

import argparse
import asyncio
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
from identity.parts import open_parts
from listeners import CannotListen, Door, bind, inherited, listening, port_of, read_certificate
from logs import configure_logs
from settings import Service, Settings, leaving_on_bad_settings, load_or_exit
from transport.connections import ConnectionCaps
from transport.serving import Serving, want_descriptors

LAST_S: Final = 12.0
"""When a service that cannot close what it works with ends all the same."""


async def serve(
    settings: Settings, listeners: Sequence[socket.socket], tell: Callable[[], None], console: int | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, and then let running requests finish; calls `tell` once connections are taken.

    In development mails are shown on `console`, a descriptor.
    """
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    url = settings.identity_url or f"http://localhost:{port_of(listeners)}"
    # Where the address is not one of HTTPS, as in development, the certificate is the web server's alone.
    tls = read_certificate(settings) if url.startswith("https://") else None
    async with open_parts(settings, find_dsn(settings), url, console) as parts:
        caps = ConnectionCaps(settings.connections, settings.connections_per_address)
        want_descriptors(settings.connections)
        serving = Serving(make_app(parts), caps=caps, form=FORM, tls=tls)
        await serving.start(listeners)
        tell()
        await stop.wait()
        asyncio.get_running_loop().call_later(LAST_S + settings.drain_delay, os._exit, 1)
        await serving.stop(notice=settings.drain_delay)


def main(arguments: Sequence[str]) -> int:
    """Run the service; gives the exit status."""
    asked = _read(arguments)
    settings = load_or_exit(service=Service.IDENTITY)
    configure_logs()
    try:
        listeners = inherited(asked.listen) if asked.listen is not None else bind(settings, Door.IDENTITY)
    except CannotListen as error:
        sys.stderr.write(f"kith: {error}\n")
        return 1
    with leaving_on_bad_settings(), listening(listeners):
        told = asked.serves.touch if asked.serves is not None else lambda: None
        uvloop.run(serve(settings, listeners, told, asked.console))
    return 0


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m identity", description="Run the auth service.")
    parser.add_argument("--listen", metavar="FD,…", help="listening sockets that were handed on")
    parser.add_argument("--console", metavar="FD", type=int, help="a terminal that was handed on, to show mails on")
    parser.add_argument("--serves", metavar="FILE", type=Path, help="a file to make once connections are accepted")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
