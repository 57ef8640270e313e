"""Where a request comes from, as far as that can be known, and what its sender says beside it."""

import dataclasses
import functools
import ipaddress
from typing import Final

from aiohttp import web

NETWORK_BITS: Final = 64
"""What one customer has of IPv6 addresses: whoever has one of them has them all."""
_LONGEST: Final = 64

_SIGNAL: Final = "Sec-GPC"


@dataclasses.dataclass(frozen=True, slots=True)
class Sender:
    """What a request says whoever it is that asks.

    `address` is where it comes from, an IPv6 address cut to the network that one customer has; `opts_out` whether it
    carries the Global Privacy Control signal (https://www.w3.org/TR/gpc/).
    """

    address: str = ""
    opts_out: bool = False


NOWHERE: Final = Sender()


def sender_of(request: web.Request, proxies: int) -> Sender:
    """Say what is known of a request's sender, past so many proxies that add to `X-Forwarded-For`."""
    return Sender(address_of(request, proxies), "1" in request.headers.getall(_SIGNAL, ()))


def address_of(request: web.Request, proxies: int) -> str:
    """Give the address that a request comes from, past so many proxies that add to `X-Forwarded-For`.

    What stands further left in that header anybody can write.
    """
    address = request.remote or ""
    if proxies:
        passed = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        address = passed[-min(proxies, len(passed))].strip() or address
    return network_of(address)


@functools.lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Give the address under which something is counted; IPv6 addresses by their network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_LONGEST]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, NETWORK_BITS), strict=False))
