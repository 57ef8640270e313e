"""Verified TLS to the databases, Redis and the brokers: the files that verify them, written into their addresses.

Each driver reads them there, so that every process that is given an address verifies whom it speaks to: the certificate
must be of an authority in the file, and for the host that the address names.
"""

import dataclasses
import ipaddress
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

KAFKA: Final = "ssl://"
"""What the addresses of brokers begin with that are spoken to in TLS."""
_LOCAL_NAMES: Final = ("", "localhost")
_REDIS_LOOSE: Final = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}


@dataclasses.dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM: the authorities that count, and where the other side asks for them a certificate and its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def verified_dsn(dsn: str, files: TlsFiles) -> str:
    """Write into a `postgresql://` address what verifies the server; one that says so itself stays as it is."""
    if files.ca is None or "sslmode" in _query(dsn):
        return dsn
    return _with(dsn, sslmode="verify-full", sslrootcert=files.ca, sslcert=files.cert, sslkey=files.key)


def verified_redis(url: str, files: TlsFiles) -> str:
    """Write into a `rediss://` address what verifies the server."""
    if not url.startswith("rediss") or "ssl_cert_reqs" in _query(url):
        return url
    return _with(url, **_REDIS_LOOSE, ssl_ca_certs=files.ca, ssl_certfile=files.cert, ssl_keyfile=files.key)


def verified_kafka(bootstrap: str, files: TlsFiles) -> str:
    """Write into the addresses of brokers what verifies them."""
    if files.ca is None or bootstrap.startswith(KAFKA):
        return bootstrap
    return _with(f"{KAFKA}{bootstrap}", ca=files.ca, cert=files.cert, key=files.key)


def is_verified(address: str) -> bool:
    """Tell whether nobody on the way can read or answer for the other side: it is verified, or on this machine."""
    query = _query(address)
    if is_local(address):
        return True
    if address.startswith("postgres"):
        return query.get("sslmode") == "verify-full"
    if address.startswith("rediss"):
        return all(query.get(name) == value for name, value in _REDIS_LOOSE.items())
    return address.startswith(KAFKA)


def is_local(address: str) -> bool:
    """Tell whether an address, or each of several by commas, is on this machine: a socket, or the loopback."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    hosts = [_host(host) for host in parts.netloc.rpartition("@")[2].split(",")]
    return all(host in _LOCAL_NAMES or _is_loopback(host) for host in hosts) and not _names_a_host(address)


def _host(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""


def _names_a_host(address: str) -> bool:
    """Tell whether the query names a host that is no folder of sockets, as libpq's addresses may."""
    named = _query(address).get("host", "/")
    return not named.startswith("/") and named not in _LOCAL_NAMES and not _is_loopback(named)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _query(address: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(address.partition("?")[2]).items()}


def _with(address: str, **parameters: object) -> str:
    given = urlencode({name: str(value) for name, value in parameters.items() if value is not None})
    return f"{address}{'&' if '?' in address else '?'}{given}"


def read_kafka(address: str) -> tuple[str, TlsFiles | None]:
    """Give the brokers that an address names, and the files that verify them; None where they are spoken to openly."""
    if not address.startswith(KAFKA):
        return address, None
    query = {name: Path(value) for name, value in _query(address).items()}
    brokers = address.removeprefix(KAFKA).partition("?")[0]
    return brokers, TlsFiles(query.get("ca"), query.get("cert"), query.get("key"))
