"""Tokens of a provider that is not ours: found by its discovery document, checked with the keys it publishes."""

import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from auth.issuers import Issuers, open_issuers
from auth.verifier import Verifier
from domain.errors import TokenRejected
from settings import Settings, SettingsError, load
from tests.conftest import eventually

KEYS = [RSAKey.generate_key(2048, auto_kid=True) for _ in range(2)]


@dataclasses.dataclass
class Provider:
    """An OpenID provider on a port of this machine, which signs with RSA as most do."""

    issuer: str = ""
    said_issuer: str | None = None
    keys: list[RSAKey] = dataclasses.field(default_factory=lambda: KEYS[:1])
    status: int = 200
    text: str | None = None
    asked: int = 0
    discovered: int = 0

    async def discovery(self, _request: web.Request) -> web.Response:
        self.discovered += 1
        return web.json_response({"issuer": self.said_issuer or self.issuer, "jwks_uri": f"{self.issuer}/keys"})

    async def publish(self, _request: web.Request) -> web.Response:
        self.asked += 1
        if self.text is not None:
            return web.Response(text=self.text)
        keys = [{**key.as_dict(private=False), "use": "sig"} for key in self.keys]
        return web.json_response({"keys": keys}, status=self.status)

    def sign(self, key: RSAKey, **changes: Any) -> str:
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + 600}
        claims = {"iss": self.issuer, "aud": "kith", "sub": "someone", "jti": "1", **times, **changes}
        return jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": key.kid}, claims, key)

    @property
    def settings(self) -> Settings:
        return load({"KITH_AUTH_ISSUER": self.issuer})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", made.discovery)
    app.router.add_get("/keys", made.publish)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def ready(issuers: Issuers) -> bool:
    try:
        await issuers.pings["issuer"]()
    except Exception:  # noqa: BLE001 - not yet
        return False
    return True


async def asked(provider: Provider) -> bool:
    return provider.asked > 0


async def discovered_twice(provider: Provider) -> bool:
    return provider.discovered > 1


async def test_any_provider_is_found_by_its_name_alone(provider: Provider) -> None:
    async with open_issuers(provider.settings) as issuers:
        await eventually(lambda: ready(issuers), within=30)
        verifier = Verifier(issuers.all, audience="kith")
        assert (await verifier.check(provider.sign(KEYS[0]))).subject == "someone"
        wrong = (provider.sign(KEYS[1]), provider.sign(KEYS[0], aud="other"), provider.sign(KEYS[0], exp=2e9))
        for token in wrong:
            with pytest.raises(TokenRejected):
                await verifier.check(token)
        assert provider.asked == 1


async def test_the_keys_of_a_provider_that_is_gone_go_on_to_count(provider: Provider) -> None:
    async with open_issuers(provider.settings) as issuers:
        await eventually(lambda: ready(issuers), within=30)
        provider.status = 500
        await issuers.all[0].keys.refresh()
        verifier = Verifier(issuers.all, audience="kith")
        assert (await verifier.check(provider.sign(KEYS[0]))).subject == "someone"


@pytest.mark.parametrize("said", ["https://another.example", "{}/"])
async def test_keys_of_a_document_that_names_another_issuer_are_not_taken(provider: Provider, said: str) -> None:
    provider.said_issuer = said.replace("{}", provider.issuer)
    async with open_issuers(provider.settings) as issuers:
        await eventually(lambda: discovered_twice(provider), within=30)
        with pytest.raises(TokenRejected):
            await Verifier(issuers.all, audience="kith").check(provider.sign(KEYS[0]))
        assert provider.asked == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys":[]}', '{"keys":[],"keys":[]}', "[" * 5000, "x" * 300_000])
async def test_what_is_no_set_of_keys_is_passed_over(provider: Provider, text: str) -> None:
    provider.text = text
    async with open_issuers(provider.settings) as issuers:
        await eventually(lambda: asked(provider), within=30)
        assert not await ready(issuers)


@pytest.mark.parametrize(
    "environ",
    [
        {"KITH_AUTH_ISSUER": "http://login.example.com"},
        {"KITH_AUTH_ISSUER": "login"},
        {"KITH_AUTH_ISSUER": "https://login.example.com", "KITH_AUTH_JWKS_URL": "http://login.example.com/keys"},
    ],
    ids=str,
)
async def test_keys_are_fetched_over_https_alone(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"must be an https:// address\.$"):
        async with open_issuers(load(environ)):
            pass
