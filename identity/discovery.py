"""What applications and services find out by themselves (OpenID Connect Discovery 1.0, RFC 8414), and public keys."""

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from identity.clients import SCOPES
from identity.parts import Parts
from identity.signing_keys import ALGORITHM

AUTHORIZE: Final = "/authorize"
TOKEN: Final = "/token"  # noqa: S105 - a path
REVOKE: Final = "/revoke"
JWKS: Final = "/jwks.json"
_OPENID: Final = "/.well-known/openid-configuration"
_OAUTH: Final = "/.well-known/oauth-authorization-server"
_PUBLIC: Final = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=60"}


def routes(parts: Parts) -> Iterable[web.AbstractRouteDef]:
    """Serve the two documents, which are one, and the keys."""

    async def metadata(_request: web.Request) -> web.Response:
        return web.json_response(describe(parts.url), headers=_PUBLIC)

    async def jwks(_request: web.Request) -> web.Response:
        async with parts.database.connection() as connection:
            keys = await parts.signing_keys.published(connection)
        return web.json_response({"keys": keys}, headers=_PUBLIC, content_type="application/jwk-set+json")

    return [web.get(_OPENID, metadata), web.get(_OAUTH, metadata), web.get(JWKS, jwks)]


def describe(url: str) -> dict[str, object]:
    """Describe the service at an address."""
    return {
        "issuer": url,
        "authorization_endpoint": url + AUTHORIZE,
        "token_endpoint": url + TOKEN,
        "revocation_endpoint": url + REVOKE,
        "jwks_uri": url + JWKS,
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "prompt_values_supported": ["none", "login", "select_account"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "sid"],
        "authorization_response_iss_parameter_supported": True,
        "claims_parameter_supported": False,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }
