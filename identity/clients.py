"""Applications that may sign people in: public clients, which keep no secret, registered in a file by the operator."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from authlib.oauth2.rfc6749 import ClientMixin

from domain.scopes import Scope
from settings import Settings, SettingsError

EXPLORER: Final = "graphiql"
OPENID: Final = "openid"
SCOPES: Final = (OPENID, *(scope.value for scope in Scope))
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclasses.dataclass(frozen=True, slots=True)
class Client(ClientMixin):  # type: ignore[misc] # the library is not annotated
    """An application: its id, the name that people are shown, where it may be answered, what it may ask for."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...] = SCOPES

    @property
    def origins(self) -> frozenset[str]:
        """Give the origins of its pages, which may read what the token endpoint answers."""
        parts = (urlsplit(uri) for uri in self.redirect_uris)
        return frozenset(f"{part.scheme}://{part.netloc}" for part in parts if part.scheme in ("http", "https"))

    def get_client_id(self) -> str:
        """Give its id."""
        return self.id

    def get_default_redirect_uri(self) -> None:
        """Give none: the address must be asked for."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Give what it may have of the scopes it asks for, or of all where it names none; None for nothing."""
        asked = set((scope or " ".join(self.scopes)).split())
        return " ".join(name for name in self.scopes if name in asked) or None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Tell whether an address is registered, character for character."""
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Know no secret."""
        del client_secret
        return False

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Tell that it proves nothing but the code verifier."""
        del endpoint
        return method == "none"

    def check_response_type(self, response_type: str) -> bool:
        """Tell that it is answered by codes alone."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Tell what it may exchange for tokens."""
        return grant_type in ("authorization_code", "refresh_token")


def load_clients(settings: Settings) -> dict[str, Client]:
    """Read the applications from `KITH_IDENTITY_CLIENTS`; in development the explorer page is one without it.

    Raises:
        SettingsError: the file cannot be read.
    """
    if settings.identity_clients is None:
        return {} if settings.is_production else {EXPLORER: _explorer(settings)}
    try:
        listed = json.loads(settings.identity_clients.read_text())
        return {name: _read(name, entry) for name, entry in listed.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        raise SettingsError(
            'KITH_IDENTITY_CLIENTS is a JSON file {"id": {"name": "…", "redirect_uris": ["https://…"]}}; '
            "it cannot be read so."
        ) from None


def _read(client_id: str, entry: Mapping[str, Any]) -> Client:
    uris, scopes = entry["redirect_uris"], entry.get("scopes", SCOPES)
    if not _ID.fullmatch(client_id) or not isinstance(entry["name"], str) or not uris:
        raise ValueError
    if not all(isinstance(uri, str) and _may_be_answered(uri) for uri in uris) or not set(scopes) <= set(SCOPES):
        raise ValueError
    return Client(client_id, entry["name"], tuple(uris), tuple(scopes))


def _may_be_answered(uri: str) -> bool:
    """Tell whether a code may be sent to an address: a page by HTTPS or on this machine, or an app's own scheme."""
    parts = urlsplit(uri)
    if parts.fragment or "#" in uri or not uri.isascii() or any(letter in uri for letter in " \\\r\n\t"):
        return False
    if parts.scheme == "http":
        return parts.hostname in _LOCAL
    return bool(parts.hostname) if parts.scheme == "https" else "." in parts.scheme


def _explorer(settings: Settings) -> Client:
    hosts = dict.fromkeys((settings.host, "127.0.0.1", "localhost"))
    origins = [f"{settings.scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}" for host in hosts]
    return Client(EXPLORER, "Kith GraphQL explorer", tuple(f"{origin}/graphql" for origin in origins))
