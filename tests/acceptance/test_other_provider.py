"""A provider that is not ours, as its makers publish it: found by its name, followed through rotation and outage."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import shutil
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from auth.discovery import Publication, open_session
from auth.fetched_keys import APART_S, FetchedKeys
from auth.issuers import Issuer, open_issuers
from auth.verifier import Verifier
from domain.errors import TokenRejected
from settings import load
from tests.conftest import eventually

FOLDER = Path(__file__).parent / "clients"
WITHIN_S = 60.0
OUTAGE_S = 600
ALGORITHMS = ("ES256", "RS256")

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules" / "oidc-provider").exists(),
        reason="the provider comes with npm: `make test` fetches it",
    ),
]


@dataclasses.dataclass(frozen=True, slots=True)
class Provider:
    """The provider, and an application that gets tokens of it."""

    process: Process
    issuer: str
    http: aiohttp.ClientSession

    async def token(self, algorithm: str) -> str:
        client = {"client_id": "machine", "client_secret": "of-this-run-alone"}
        asked = {"grant_type": "client_credentials", "scope": "kith:read", "resource": f"urn:kith:{algorithm}"}
        async with self.http.post(f"{self.issuer}/token", data=asked | client) as answer:
            return str((await answer.json())["access_token"])

    async def tell(self, line: str) -> int:
        """Send a line; gives how often the keys were fetched so far."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return int(await read(self.process, "asked"))

    async def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.communicate()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "node", "provider.mjs", cwd=FOLDER, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    async with aiohttp.ClientSession() as http:
        started = Provider(process, await read(process, "issuer"), http)
        yield started
        await started.stop()


async def read(process: Process, name: str) -> str:
    """Read lines until one of a name, and give what it says."""
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        async for line in process.stdout:
            said, _, rest = line.decode().strip().partition(" ")
            if said == name:
                return rest
    raise AssertionError("the provider has ended")


@dataclasses.dataclass(slots=True)
class Clock:
    """Seconds that pass when told to, beside those that do by themselves."""

    passed: float = 0.0

    def now(self) -> float:
        """Give the time: the provider's, who knows no other, and what has passed."""
        return time.time() + self.passed


@contextlib.asynccontextmanager
async def verifying(provider: Provider, clock: Clock) -> AsyncIterator[Verifier]:
    """Check tokens as the service does, by a clock of the test."""
    async with open_session() as session:
        fetched = FetchedKeys(Publication(session, provider.issuer).fetch, clock=lambda: clock.passed)
        async with fetched.kept_fresh() as keys:
            await eventually(lambda: is_known(keys))
            yield Verifier([Issuer(provider.issuer, keys)], audience="kith", clock=clock.now)


async def is_known(keys: FetchedKeys) -> bool:
    return keys.find("ES256-0") is not None


def under(kid: str, token: str) -> str:
    """Give a token whose head names another key."""
    head = json.dumps(head_of(token) | {"kid": kid}).encode()
    return f"{base64.urlsafe_b64encode(head).rstrip(b'=').decode()}.{token.partition('.')[2]}"


async def is_refused(verifier: Verifier, token: str) -> bool:
    try:
        await verifier.check(token)
    except TokenRejected:
        return True
    return False


async def test_a_provider_that_is_not_ours_counts_by_its_name_through_rotation_and_outage(provider: Provider) -> None:
    await its_tokens_count_by_its_name_alone(provider)
    clock = Clock()
    async with verifying(provider, clock) as verifier:
        await its_keys_are_followed_and_a_thousand_names_of_none_cost_one_fetch(provider, verifier, clock)
        await its_tokens_count_on_while_it_is_away_for_ten_minutes(provider, verifier, clock)


async def its_tokens_count_by_its_name_alone(provider: Provider) -> None:
    async with open_issuers(load({"KITH_AUTH_ISSUER": provider.issuer})) as issuers:
        verifier = Verifier(issuers.all, audience="kith")
        for algorithm in ALGORITHMS:
            token = await provider.token(algorithm)
            await eventually(lambda token=token: passes(verifier, token))  # type: ignore[misc] # bound early
            claims = await verifier.check(token)
            assert (claims.subject, claims.scopes) == ("machine", frozenset({"kith:read"}))
            assert await is_refused(verifier, token[:-8] + "AAAAAAAA")
            assert await is_refused(Verifier(issuers.all, audience="other"), token)


async def passes(verifier: Verifier, token: str) -> bool:
    return not await is_refused(verifier, token)


async def its_keys_are_followed_and_a_thousand_names_of_none_cost_one_fetch(
    provider: Provider, verifier: Verifier, clock: Clock
) -> None:
    before = [await provider.token(algorithm) for algorithm in ALGORITHMS]
    await provider.tell("rotate")
    after = [await provider.token(algorithm) for algorithm in ALGORITHMS]
    assert [head_of(token)["kid"] for token in (*before, *after)] == ["ES256-0", "RS256-0", "ES256-1", "RS256-1"]
    fetched = await provider.tell("asked")
    unknown = [under(f"nobody-{number}", before[0]) for number in range(1000)]
    assert all(await asyncio.gather(*(is_refused(verifier, token) for token in unknown)))
    assert await provider.tell("asked") == fetched, "the last fetch was less than 30 s ago"
    clock.passed += APART_S
    assert all(await asyncio.gather(*(is_refused(verifier, token) for token in unknown)))
    assert await provider.tell("asked") == fetched + 1
    for token in (*before, *after):
        assert (await verifier.check(token)).subject == "machine"


async def its_tokens_count_on_while_it_is_away_for_ten_minutes(
    provider: Provider, verifier: Verifier, clock: Clock
) -> None:
    minutes = range(OUTAGE_S // 60)
    # What is remembered of a token that was found good proves nothing: each is looked at for the first time.
    fresh = [[await provider.token(algorithm) for algorithm in ALGORITHMS] for _ in minutes]
    await provider.stop()
    for minute in minutes:
        clock.passed += 60
        assert await is_refused(verifier, under("nobody", fresh[minute][0]))
        assert not any([await is_refused(verifier, token) for token in fresh[minute]])


def head_of(token: str) -> dict[str, str]:
    """Read the head of a token."""
    fields: dict[str, str] = json.loads(base64.urlsafe_b64decode(token.split(".", 1)[0] + "=="))
    return fields
