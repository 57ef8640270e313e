"""The sockets that servers listen on: bound once by whoever runs them, and handed on to each.

All processes of a run accept from the same sockets. What one does not take another does, and while one is replaced
nothing is refused: connections wait in the socket, which stays open in the process that bound it.
"""

import contextlib
import dataclasses
import enum
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from settings import PREFIX, Settings, SettingsError

_PORTS_TRIED: Final = 50
BACKLOG: Final = 4096


class Door(enum.Enum):
    """What is listened for: the setting that says on which port, and the usual one."""

    WEB = ("port", 8000)
    IDENTITY = ("identity_port", 8100)
    INTERNAL = ("internal_port", 0)
    IDENTITY_INTERNAL = ("identity_internal_port", 0)

    @property
    def usual(self) -> int:
        """Give the port that is taken where none is set."""
        return self.value[1]

    @property
    def variable(self) -> str:
        """Name the variable that sets the port."""
        return PREFIX + self.value[0].upper()

    def chosen(self, settings: Settings) -> int | None:
        """Give the port that is set."""
        port: int | None = getattr(settings, self.value[0])
        return port


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a certificate chain and its key, in PEM."""

    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Read the files; raises OSError (which SSLError is) where they are none. TLS 1.3 is the only version."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.chain, self.key, password=_no_password)
        return context


def _no_password() -> str:
    """Keep the library from asking at the terminal."""
    raise OSError("the key is encrypted")


def read_certificate(settings: Settings) -> ssl.SSLContext | None:
    """Read the certificate of what is served, if there is one.

    Raises:
        SettingsError: it cannot be used.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    try:
        return Certificate(settings.tls_cert, settings.tls_key).context()
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or "they are none"
        raise SettingsError(f"The files of KITH_TLS_CERT and KITH_TLS_KEY cannot be used: {why}.") from error


class CannotListen(Exception):
    """Kith cannot listen where it was told to."""


class PortTaken(CannotListen):
    """Something else listens there."""


def bind(settings: Settings, door: Door = Door.WEB) -> list[socket.socket]:
    """Bind the port that is set, or else the usual one.

    Raises:
        CannotListen: it is in use, or not ours to use.
    """
    return _bind(settings.host, door.chosen(settings) or door.usual, door)


def bind_free(settings: Settings, report: Callable[[str], None], door: Door = Door.WEB) -> list[socket.socket]:
    """Bind the port that is set, or else the first free one from the usual one on, for checkouts side by side.

    Raises:
        CannotListen: there is none.
    """
    if door.chosen(settings) is not None:
        return bind(settings, door)
    for port in range(door.usual, door.usual + _PORTS_TRIED):
        with contextlib.suppress(PortTaken):
            return _bind(settings.host, port, door)
        report(f"Port {port} is in use, trying the next one")
    raise PortTaken(f"ports {door.usual} to {port} on {settings.host} are in use; set {door.variable} to a free one.")


def bind_internal(settings: Settings, door: Door = Door.INTERNAL) -> list[socket.socket]:
    """Bind the port on which a service hears the other one: the one that is set, or else any.

    Raises:
        CannotListen: it is in use, or others than our own machines could reach it.
    """
    listeners = _bind(settings.internal_host, door.chosen(settings) or door.usual, door)
    if not all(_is_private(listener) for listener in listeners):
        for listener in listeners:
            listener.close()
        raise CannotListen(f"{settings.internal_host} is no private address; set KITH_INTERNAL_HOST to one.")
    return listeners


def _is_private(listener: socket.socket) -> bool:
    address = ipaddress.ip_address(listener.getsockname()[0])
    return address.is_private and not address.is_unspecified


def port_of(listeners: Sequence[socket.socket]) -> int:
    """Give the port that sockets are bound to."""
    port: int = listeners[0].getsockname()[1]
    return port


def numbers_of(listeners: Sequence[socket.socket]) -> tuple[int, ...]:
    """Give the descriptors to hand on."""
    return tuple(listener.fileno() for listener in listeners)


def inherited(numbers: str) -> list[socket.socket]:
    """Give the sockets of descriptors that were handed on, written by commas."""
    return [socket.socket(fileno=int(number)) for number in numbers.split(",")]


@contextlib.contextmanager
def listening(listeners: Sequence[socket.socket]) -> Iterator[Sequence[socket.socket]]:
    """Keep sockets open until the context closes; those that were handed on stay open where they are."""
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def _bind(host: str, port: int, door: Door) -> list[socket.socket]:
    """Bind every address that a name stands for, or none."""
    with contextlib.ExitStack() as stack:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
            listeners = [stack.enter_context(_listener(family, address)) for family, address in addresses]
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(f"port {port} on {host} is in use; set {door.variable} to another one.") from error
            raise CannotListen(f"cannot listen on port {port} of {host}: {error.strerror}.") from error
        stack.pop_all()
    return listeners


def _listener(family: socket.AddressFamily, address: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener
