"""Keys that are fetched: seldom, together, and kept while the issuer is away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest
from joserfc.jwk import ECKey

from auth.discovery import IssuerUnavailable
from auth.fetched_keys import APART_S, FetchedKeys
from auth.jwks import VerificationKey, read_keys
from tests.conftest import eventually

OLD, NEW = (ECKey.generate_key("P-256", auto_kid=True).as_dict(private=False) for _ in range(2))


class Provider:
    """Somebody who publishes keys, or is away; the time is set by hand."""

    def __init__(self) -> None:
        self.published = [OLD]
        self.away = False
        self.fetches = 0
        self.now = 0.0
        self.answering = asyncio.Event()
        self.answering.set()

    async def fetch(self) -> Mapping[str, VerificationKey]:
        self.fetches += 1
        await self.answering.wait()
        if self.away:
            raise IssuerUnavailable
        return read_keys({"keys": self.published})

    @contextlib.asynccontextmanager
    async def followed(self) -> AsyncIterator[FetchedKeys]:
        async with FetchedKeys(self.fetch, clock=lambda: self.now).kept_fresh() as keys:
            await eventually(lambda: known(keys, OLD), within=30)
            yield keys


async def known(keys: FetchedKeys, key: Mapping[str, object]) -> bool:
    return keys.find(str(key["kid"])) is not None


async def test_a_thousand_unknown_names_cost_one_fetch_in_30_seconds() -> None:
    provider = Provider()
    async with provider.followed() as keys:
        for expected in (2, 3):
            provider.now += APART_S
            await asyncio.gather(*(keys.refresh() for _ in range(1000)))
            await asyncio.gather(*(keys.refresh() for _ in range(1000)))
            assert provider.fetches == expected


async def test_those_who_miss_the_same_key_wait_for_one_fetch() -> None:
    provider = Provider()
    async with provider.followed() as keys:
        provider.now += APART_S
        provider.published = [OLD, NEW]
        provider.answering.clear()
        waiting = [asyncio.create_task(keys.refresh()) for _ in range(50)]
        await eventually(lambda: counted(provider, 2), within=30)
        provider.answering.set()
        await asyncio.gather(*waiting)
        assert await known(keys, NEW)
        assert provider.fetches == 2


async def counted(provider: Provider, fetches: int) -> bool:
    return provider.fetches == fetches


async def test_keys_that_are_known_outlive_an_outage_of_any_length() -> None:
    provider = Provider()
    async with provider.followed() as keys:
        provider.away = True
        for _ in range(20):
            provider.now += APART_S
            await keys.refresh()
        assert await known(keys, OLD)
        assert provider.fetches == 21
        provider.away, provider.published = False, [NEW]
        provider.now += APART_S
        await keys.refresh()
        assert await known(keys, NEW)
        assert not await known(keys, OLD)


async def test_a_provider_that_is_away_at_the_start_is_asked_again_and_nobody_hurries_it() -> None:
    provider = Provider()
    provider.away = True
    keys = FetchedKeys(provider.fetch, clock=lambda: provider.now)
    async with keys.kept_fresh():
        await eventually(lambda: counted(provider, 1), within=30)
        with pytest.raises(IssuerUnavailable):
            await keys.ping()
        await asyncio.gather(*(keys.refresh() for _ in range(1000)))
        assert provider.fetches == 1
        provider.away = False
        provider.now += APART_S
        await eventually(lambda: known(keys, OLD), within=30)
        await keys.ping()
