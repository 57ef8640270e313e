"""What OAuth 2.1 asks of requests for codes and tokens: checked by Authlib's grants, over what was read beforehand.

The grants do no I/O: whoever calls gives them the code or the refresh token as the database has it, and writes down
what comes of it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Protocol

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge

from identity.clients import Client

S256: Final = "S256"
PROMPTS: Final = frozenset({"none", "login", "select_account", "consent"})
_MAX_TEXT: Final = 1024
_MAX_DIGITS: Final = 9
_NOT_SUPPORTED: Final = {"request": "request_not_supported", "request_uri": "request_uri_not_supported"}
_URL: Final = "https://kith.invalid/"
"""Authlib looks at the address of a request for its scheme; whether that is HTTPS is settled by the settings."""


class Refused(Exception):
    """A request is refused with an error of OAuth; at `redirect_uri` where that may be told to the application."""

    def __init__(self, error: str, redirect_uri: str | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.redirect_uri = redirect_uri


class Code(Protocol):
    """An authorization code, as it was issued."""

    @property
    def client_id(self) -> str:
        """Give whom it was issued to."""

    @property
    def redirect_uri(self) -> str:
        """Give where it was sent."""

    @property
    def scope(self) -> str:
        """Give what it is for."""

    @property
    def code_challenge(self) -> str:
        """Give the digest of the verifier."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A request for a code that is in order."""

    client: Client
    redirect_uri: str
    scope: str
    code_challenge: str
    state: str | None
    nonce: str | None
    prompt: frozenset[str]
    max_age: int | None


def check_authorization(clients: Mapping[str, Client], fields: Mapping[str, str]) -> Asked:
    """Check a request for a code; raises Refused."""
    request = _Request("GET", fields)
    server = _Server(clients)
    try:
        redirect_uri: str = server.get_authorization_grant(request).validate_authorization_request()
    except OAuth2Error as error:
        raise Refused(error.error, error.redirect_uri) from None
    except ValueError:  # the library's words would hold what was sent, in letters that an error may not have
        raise Refused("invalid_request") from None
    try:
        return _read(request.client, redirect_uri, request.scope, fields)
    except ValueError as error:
        raise Refused(str(error) or "invalid_request", redirect_uri) from None


def check_code(clients: Mapping[str, Client], fields: Mapping[str, str], code: Code | None) -> Client:
    """Check the exchange of a code, its verifier included; gives the application, or raises Refused."""
    return _check_token_request(_Server(clients, code=code), fields)


def check_refresh(clients: Mapping[str, Client], fields: Mapping[str, str], *, owner: str | None, scope: str) -> Client:
    """Check the use of a refresh token that was issued to `owner`; gives the application, or raises Refused."""
    lineage = _Lineage(owner, scope) if owner is not None else None
    return _check_token_request(_Server(clients, lineage=lineage), fields)


def check_client(clients: Mapping[str, Client], fields: Mapping[str, str]) -> Client:
    """Give the application that asks; raises Refused."""
    request = _Request("POST", fields)
    try:
        client: Client = _Server(clients).authenticate_client(request, ["none"])
    except OAuth2Error as error:
        raise Refused(error.error) from None
    return client


def _check_token_request(server: "_Server", fields: Mapping[str, str]) -> Client:
    request = _Request("POST", fields)
    try:
        server.get_token_grant(request).validate_token_request()
    except OAuth2Error as error:
        raise Refused(error.error) from None
    except ValueError:
        raise Refused("invalid_request") from None
    client: Client = request.client
    return client


def _read(client: Client, redirect_uri: str, scope: str, fields: Mapping[str, str]) -> Asked:
    """Read what Authlib leaves to us; raises ValueError with the error's name, or none."""
    for name, error in _NOT_SUPPORTED.items():
        if name in fields:
            raise ValueError(error)
    if fields.get("code_challenge_method") != S256 or "code_challenge" not in fields:
        raise ValueError
    prompt = frozenset(fields.get("prompt", "").split())
    if not prompt <= PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise ValueError
    texts = (fields.get("state"), fields.get("nonce"))
    if fields.get("response_mode", "query") != "query" or any(len(text or "") > _MAX_TEXT for text in texts):
        raise ValueError
    return Asked(client, redirect_uri, scope, fields["code_challenge"], *texts, prompt, _seconds(fields.get("max_age")))


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_DIGITS:
        raise ValueError
    return int(text)


class _Request(OAuth2Request):  # type: ignore[misc] # the library is not annotated
    def __init__(self, method: str, fields: Mapping[str, str]) -> None:
        super().__init__(method, _URL)
        self.payload = BasicOAuth2Payload(dict(fields))

    @property
    def form(self) -> Mapping[str, str]:
        fields: Mapping[str, str] = self.payload.data
        return fields


@dataclasses.dataclass(frozen=True, slots=True)
class _Issued:
    """A code in the form that Authlib asks for."""

    code: Code
    code_challenge_method: str = S256

    @property
    def code_challenge(self) -> str:
        return self.code.code_challenge

    def get_redirect_uri(self) -> str:
        return self.code.redirect_uri


@dataclasses.dataclass(frozen=True, slots=True)
class _Lineage:
    """A refresh token in the form that Authlib asks for."""

    owner: str
    scope: str

    def check_client(self, client: Client) -> bool:
        return client.id == self.owner

    def get_scope(self) -> str:
        return self.scope


class _CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def query_authorization_code(self, code: str, client: Client) -> _Issued | None:
        del code
        issued: Code | None = self.server.code
        return _Issued(issued) if issued is not None and issued.client_id == client.id else None


class _RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def authenticate_refresh_token(self, refresh_token: str) -> _Lineage | None:
        del refresh_token
        lineage: _Lineage | None = self.server.lineage
        return lineage


class _CodeChallenge(CodeChallenge):  # type: ignore[misc]
    SUPPORTED_CODE_CHALLENGE_METHOD = (S256,)


class _Server(AuthorizationServer):  # type: ignore[misc]
    """The library's server for one request."""

    def __init__(
        self, clients: Mapping[str, Client], *, code: Code | None = None, lineage: _Lineage | None = None
    ) -> None:
        super().__init__()
        self._clients = clients
        self.code = code
        self.lineage = lineage
        self.register_grant(_CodeGrant, [_CodeChallenge(required=True)])
        self.register_grant(_RefreshGrant)

    def query_client(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Tell nobody."""
