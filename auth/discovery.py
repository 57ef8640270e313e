"""Where an issuer publishes its keys (OpenID Connect Discovery 1.0, RFC 8414), and what is found there."""

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from auth.jwks import VerificationKey, read_keys
from auth.strict_json import read_object

MAX_DOCUMENT_BYTES: Final = 256 * 1024
FETCH_TIMEOUT_S: Final = 5.0
WELL_KNOWN: Final = "/.well-known/openid-configuration"
_OK: Final = 200


class IssuerUnavailable(Exception):
    """The issuer gives no keys."""


@dataclasses.dataclass(frozen=True, slots=True)
class Publication:
    """Fetches the keys of an issuer, from an address that is known or that its discovery document names."""

    session: aiohttp.ClientSession
    issuer: str
    address: str | None = None

    async def fetch(self) -> Mapping[str, VerificationKey]:
        """Fetch the keys; raises IssuerUnavailable."""
        address = self.address or await self._discover()
        try:
            return read_keys(await self._get(address))
        except ValueError as error:
            raise IssuerUnavailable("it publishes no JWK set with a key of use") from error

    async def _discover(self) -> str:
        document = await self._get(self.issuer.rstrip("/") + WELL_KNOWN)
        address = document.get("jwks_uri")
        # Whoever answers for another issuer must not give this one its keys.
        if document.get("issuer") != self.issuer or not isinstance(address, str) or not is_trustworthy(address):
            raise IssuerUnavailable("its discovery document is not that of this issuer")
        return address

    async def _get(self, address: str) -> dict[str, Any]:
        try:
            async with self.session.get(address, allow_redirects=False) as response:
                if response.status != _OK:
                    raise IssuerUnavailable(f"it answers with status {response.status}")
                return read_object(await _read(response))
        except (aiohttp.ClientError, OSError, TimeoutError, RecursionError, ValueError) as error:
            raise IssuerUnavailable(f"it cannot be read ({type(error).__name__})") from error


def open_session() -> aiohttp.ClientSession:
    """Open what keys are fetched with; it follows no redirects, keeps no cookies and waits 5 s at most."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S),
        headers={"Accept": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def is_trustworthy(address: str) -> bool:
    """Tell whether what is read at an address is what its owner wrote: HTTPS, or this very machine."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.hostname is not None and (
        parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname))
    )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(MAX_DOCUMENT_BYTES):
        content += chunk
        if len(content) > MAX_DOCUMENT_BYTES:
            raise IssuerUnavailable("it publishes too much")
    return bytes(content)
