"""Where a request comes from, as far as that can be known."""

import functools
import ipaddress
from typing import Final

from aiohttp import web

NETWORK_BITS: Final = 64
"""What one customer has of IPv6 addresses: whoever has one of them has them all."""
_LONGEST: Final = 64


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
