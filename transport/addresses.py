"""What counts as one client address, where a cap is by address."""

import functools
import ipaddress
from typing import Final

_IPV6_NETWORK_BITS: Final = 64


@functools.lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """Give an IPv4 address itself, and of an IPv6 address the network: its client has 2^64 addresses of it at least."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, _IPV6_NETWORK_BITS), strict=False))
