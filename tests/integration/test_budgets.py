"""Budgets and rates on the real Redis: spent by several processes at once, without it, and through every door."""

import asyncio
import contextlib
import dataclasses
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from domain.digests import Digests
from domain.errors import RateLimited
from domain.rate_limits import RATES, OperationClass, Rate
from embedded import Addresses
from resolvers import blocks, follows, usernames
from resolvers.quotas import Limited, Payer, Terms, Unlimited
from storage import redis_client
from storage.budgets import LEASES, Budgets
from storage.exchanges import Command
from storage.rate_windows import RateWindows
from storage.redis_client import CacheUnavailable, Redis, open_redis
from tests.conftest import KEY, MakePerson, Person
from tests.integration.test_caches import spending
from tests.integration.test_sockets import Serve, Served, serve
from transport.addresses import network_of
from transport.app import make_app
from transport.lines import Caps

__all__ = ["serve"]
LIMIT: Final = 1000
LEASE: Final = LIMIT // LEASES


def new_key() -> str:
    return f"budget:{{test{secrets.token_hex(8)}}}"


class CountingRedis:
    """Counts the round trips that go through a Redis, or answers none."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.trips = 0
        self.is_away = False
        self.is_cluster = redis.is_cluster

    async def run(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        self.trips += 1
        if self.is_away:
            raise CacheUnavailable
        return await self._redis.run(call)

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        return list(await self.run(lambda _client: self._redis.exchange(commands)))

    def ask(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        return asyncio.ensure_future(self.exchange(commands))

    async def ping(self) -> None:
        await self._redis.ping()


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def redis(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    """Give a Redis that is waited for: on a busy machine it would be one that is away now and then."""
    monkeypatch.setattr(redis_client, "CALL_TIMEOUT_S", 30.0)
    monkeypatch.setitem(redis_client._SOCKETS, "socket_timeout", 30.0)
    monkeypatch.setitem(redis_client._SOCKETS, "socket_connect_timeout", 30.0)
    async with open_redis(addresses.redis_url) as opened:
        yield opened


@pytest.fixture
def counting(redis: Redis) -> CountingRedis:
    return CountingRedis(redis)


@contextlib.asynccontextmanager
async def budgets_of(redis: Any, clock: Callable[[], float] | None = None) -> AsyncIterator[Budgets]:
    opened = Budgets(redis) if clock is None else Budgets(redis, clock)
    yield opened
    await opened.settle()


async def spend_all(budgets: Budgets, key: str, cost: int = 1) -> int:
    """Spend until it is refused, and give how much that was."""
    spent = 0
    while await budgets.spend(key, LIMIT, cost):
        spent += cost
    return spent


@pytest.mark.parametrize("cost", [1, 7, 300])
async def test_a_budget_is_spent_to_its_end_and_not_beyond(redis: Redis, cost: int) -> None:
    key = new_key()
    async with budgets_of(redis) as budgets:
        assert await spend_all(budgets, key, cost) == LIMIT // cost * cost
        account = budgets.look(key, LIMIT)
        assert (account.is_exhausted, account.used) == (True, LIMIT // cost * cost)
        assert await spend_all(budgets, key) == LIMIT % cost


async def test_processes_share_a_budget(redis: Redis) -> None:
    key = new_key()
    async with budgets_of(redis) as one, budgets_of(redis) as other:
        spent = await asyncio.gather(spend_all(one, key), spend_all(other, key))
    assert LIMIT - 2 * LEASE <= sum(spent) <= LIMIT
    assert min(spent) > 0


async def test_a_crowd_of_one_person_leases_what_it_needs_in_one_look(counting: CountingRedis) -> None:
    key = new_key()
    async with budgets_of(counting) as budgets:
        assert all(await asyncio.gather(*(budgets.spend(key, LIMIT, 2) for _ in range(50))))
        assert counting.trips == 1 + len(budgets._tasks)  # the next lease is asked for already
        assert budgets.look(key, LIMIT).used == 100
        await budgets.settle()
        assert budgets.look(key, LIMIT).taken == 100 + LEASE


async def test_many_people_are_leased_for_in_one_look(counting: CountingRedis) -> None:
    async with budgets_of(counting) as budgets:
        assert all(await asyncio.gather(*(budgets.spend(new_key(), LIMIT, 1) for _ in range(200))))
    assert counting.trips == 1


async def test_a_request_waits_for_redis_only_where_it_is_the_first(counting: CountingRedis) -> None:
    key = new_key()
    async with budgets_of(counting) as budgets:
        await budgets.spend(key, LIMIT, 1)
        for _ in range(LIMIT // 2):
            before = counting.trips
            spending = budgets.spend(key, LIMIT, 1)
            with pytest.raises(StopIteration) as ended:
                spending.send(None)  # whatever had to wait would not be over at once
            assert (ended.value.value, counting.trips) == (True, before)
            await budgets.settle()
        assert counting.trips <= 1 + LIMIT // 2 // (LEASE // 2)


async def test_a_budget_is_whole_again_after_its_window(counting: CountingRedis) -> None:
    key, clock = new_key(), Clock()
    async with budgets_of(counting, clock) as budgets:
        assert await spend_all(budgets, key) == LIMIT
        trips = counting.trips
        assert not await budgets.spend(key, LIMIT, 1)
        assert counting.trips == trips  # it is known that there is nothing left
        account = budgets.look(key, LIMIT)
        assert 50 < account.ends - clock.now <= 60
        assert abs(account.resets_at - time.time() - (account.ends - clock.now)) < 30
        clock.now += 61
        await counting._redis.run(lambda client: client.delete(key))
        assert await budgets.spend(key, LIMIT, 1)
        assert budgets.look(key, LIMIT).used == 1


async def test_a_window_ends_by_itself_in_redis(redis: Redis) -> None:
    key = new_key()
    async with budgets_of(redis) as budgets:
        await budgets.spend(key, LIMIT, 1)
    assert 0 < await redis.run(lambda client: client.pttl(key)) <= 60_000


async def test_without_redis_each_process_keeps_the_budget_by_itself(counting: CountingRedis) -> None:
    key, counting.is_away = new_key(), True
    async with budgets_of(counting) as budgets:
        assert await spend_all(budgets, key) == LIMIT
        assert not await budgets.spend(key, LIMIT, 1)


async def test_rates_are_kept_by_all_processes_and_without_redis_by_each(counting: CountingRedis) -> None:
    one, other, name = RateWindows(counting), RateWindows(counting), secrets.token_hex(8)  # type: ignore[arg-type]
    rate = Rate(5, 3600)
    hits = [await windows.hit(rate, "test", name) for windows in (one, other) * 4]
    assert hits == [True] * 5 + [False] * 3
    standing = await one.look(rate, "test", name)
    assert (standing.limit, standing.used, standing.remaining) == (5, 5, 0)
    assert (await one.look(rate, "test", "another")).used == 0
    counting.is_away = True
    assert [await one.hit(rate, "test", name) for _ in range(7)] == [True] * 5 + [False] * 2
    assert (await one.look(rate, "test", name)).remaining == 0
    await one.close()


def limited(redis: Redis, *, enforced: bool = True, person: int = LIMIT, address: int = LIMIT) -> Limited:
    return Limited(Budgets(redis), RateWindows(redis), Digests(KEY), Terms(person, address, enforced))


async def test_classes_are_limited_by_account_by_address_and_by_who_is_claimed(redis: Redis) -> None:
    quotas, place = limited(redis), secrets.token_hex(6)
    most = RATES[OperationClass.SIGN_IN].account[0].amount
    for _ in range(most):
        await quotas.count(Payer(None, place), OperationClass.SIGN_IN, account=f"ana {place}")
    with pytest.raises(RateLimited) as refused:
        await quotas.count(Payer(None, secrets.token_hex(6)), OperationClass.SIGN_IN, account=f"ana {place}")
    assert refused.value.extensions["retryAfter"]
    await quotas.count(Payer(None, place), OperationClass.SIGN_IN, account=f"bo {place}")
    for number in range(RATES[OperationClass.SIGN_IN].address[0].amount - most - 1):
        await quotas.count(Payer(None, place), OperationClass.SIGN_IN, account=f"{number} {place}")
    with pytest.raises(RateLimited):
        await quotas.count(Payer(None, place), OperationClass.SIGN_IN, account=f"cy {place}")


async def test_no_key_in_redis_holds_an_address_or_a_claimed_name(redis: Redis) -> None:
    quotas = limited(redis)
    await quotas.spend(Payer(None, "203.0.113.77"), 1)
    await quotas.count(Payer(None, "203.0.113.77"), OperationClass.SIGN_IN, account="somebody@example.org")
    keys = b" ".join(await redis.run(lambda client: client.keys("*")))
    assert b"203.0.113" not in keys
    assert b"somebody" not in keys
    assert b"sign_in" in keys


async def follow_until_refused(person: Person, target: str) -> int:
    for number in range(200):
        try:
            await follows.follow(person.context, target)
        except RateLimited:
            return number
    return 200


async def test_following_too_often_is_refused_for_the_hidden_and_for_nobody_alike(
    make_person: MakePerson, redis: Redis
) -> None:
    ana, bo, cy = await make_person(), await make_person(), await make_person()
    await blocks.block(cy.context, bo.opaque_id, expires_at=None)
    most = RATES[OperationClass.FOLLOW].account[0].amount
    quotas = limited(redis)
    hidden = dataclasses.replace(bo, backend=dataclasses.replace(bo.backend, quotas=quotas))
    nobody = dataclasses.replace(ana, backend=dataclasses.replace(ana.backend, quotas=quotas))
    assert await follow_until_refused(hidden, cy.opaque_id) == most
    assert await follow_until_refused(nobody, "A" * 22) == most
    await blocks.block(hidden.context, cy.opaque_id, expires_at=None)  # another class
    with pytest.raises(RateLimited):
        await follows.unfollow(hidden.context, cy.opaque_id)


async def test_names_are_tried_and_asked_after_only_so_often_whoever_has_them(
    make_person: MakePerson, redis: Redis
) -> None:
    ana = await make_person()
    asking = dataclasses.replace(ana, backend=dataclasses.replace(ana.backend, quotas=limited(redis)))
    taken = (await make_person()).name
    for _ in range(RATES[OperationClass.RENAME].account[0].amount):
        assert (await usernames.rename(asking.context, "a..b", keep_former=False)).user_errors
        assert (await usernames.rename(asking.context, taken, keep_former=False)).user_errors
    with pytest.raises(RateLimited):
        await usernames.rename(asking.context, f"free.{secrets.token_hex(6)}", keep_former=False)
    for _ in range(RATES[OperationClass.AVAILABILITY].account[0].amount):
        await usernames.fetch_availability(asking.context, "a..b")
    with pytest.raises(RateLimited):
        await usernames.fetch_availability(asking.context, taken)


async def test_what_is_only_counted_is_not_refused(redis: Redis) -> None:
    quotas, payer = limited(redis, enforced=False, address=100), Payer(None, secrets.token_hex(6))
    for _ in range(12):
        quotas.expect_some_left(payer)
        await quotas.spend(payer, 10)
    standing = quotas.budget(payer)
    assert (standing.used, standing.remaining) == (100, 0)  # type: ignore[union-attr] # there is one


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("x" * 500, "x" * 64),
    ],
)
def test_an_address_counts_as_the_network_that_one_customer_has(address: str, network: str) -> None:
    assert network_of(address) == network


class Doors:
    """A server with small budgets, and the ways to ask it."""

    def __init__(self, served: Served, session: aiohttp.ClientSession) -> None:
        self.served = served
        self.session = session
        self.base = served.url.removesuffix("/graphql")

    def headers(self, person: Person | None, **more: str) -> dict[str, str]:
        own = {"Authorization": f"Bearer {self.served.token(person)}"} if person is not None else {}
        return {**own, **more}

    async def post(self, person: Person | None, query: str, **more: str) -> tuple[int, Any, Any]:
        headers = self.headers(person, Accept="application/graphql-response+json", **more)
        async with self.session.post(
            self.served.url, json={"query": query, "extensions": {"cost": True}}, headers=headers
        ) as answer:
            return answer.status, answer.headers, await answer.json(content_type=None)


Open = Callable[..., Awaitable[Doors]]


@pytest.fixture
async def open_doors(serve: Serve, redis: Redis) -> AsyncIterator[Open]:
    """Serve with quotas of the test's choice."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, proxies: int = 0, **terms: Any) -> Doors:
            served = await serve(Caps(per_user=100))
            quotas = limited(redis, **terms)
            backend = dataclasses.replace(served.parts.backend, quotas=quotas)
            access = dataclasses.replace(served.parts.access, proxies=proxies)
            parts = dataclasses.replace(served.parts, backend=backend, access=access)
            runner = web.AppRunner(make_app(parts), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Doors(dataclasses.replace(served, parts=parts, runner=runner, host=host, port=port), session)

        yield start


async def test_an_answer_says_what_it_cost_only_where_it_was_asked_to(open_doors: Open) -> None:
    doors = await open_doors()
    async with doors.session.post(doors.served.url, json={"query": "{ __typename }"}) as answer:
        assert await answer.json(content_type=None) == {"data": {"__typename": "Query"}}
    assert (await doors.post(None, "{ __typename }"))[2]["extensions"] == {"cost": {"cost": 1, "nodeCount": 0}}


COSTLY: Final = "{ me { followers(first: 50) { nodes { id } } } }"
LEFT: Final = "{ rateLimit { cost nodeCount limit remaining used resetAt } }"


async def test_every_door_refuses_whoever_has_spent_the_budget(open_doors: Open, make_person: MakePerson) -> None:
    doors, ana, bo = await open_doors(person=100), await make_person(), await make_person()
    status, headers, body = await doors.post(ana, COSTLY)
    assert (status, body["extensions"]["cost"]) == (200, {"cost": 52, "nodeCount": 51})
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"], headers["x-ratelimit-used"]) == (
        "100", "48", "52",
    )  # fmt: skip
    status, headers, body = await doors.post(ana, COSTLY)
    assert status == 429
    assert "data" not in body
    [error] = body["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert 0 < int(headers["Retry-After"]) == error["extensions"]["retryAfter"] <= 60
    assert headers["x-ratelimit-remaining"] == "48"
    for refusal in (await get(doors, ana), await sse(doors, ana), await socket(doors, ana)):
        assert refusal["extensions"]["code"] == "RATE_LIMITED"
        assert refusal["extensions"]["resetAt"]
    for _ in range(48):
        await doors.post(ana, "{ __typename }")
    async with doors.session.get(f"{doors.base}/v1/users/me", headers=doors.headers(ana)) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (429, "RATE_LIMITED")
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["x-ratelimit-remaining"] == "0"
    assert (await doors.post(bo, COSTLY))[0] == 200


async def test_every_door_takes_the_same_for_the_same(open_doors: Open, make_person: MakePerson) -> None:
    doors = await open_doors()
    used = []
    for ask in (doors.post, get, sse, socket):
        person = await make_person()
        for query in (COSTLY, "{ nothing }", "{ __typename }", "query($a: Int!) { __typename }"):
            with contextlib.suppress(KeyError):  # what is answered is no error
                _ = await (ask(person, query) if ask == doors.post else ask(doors, person, query))  # type: ignore[call-arg,arg-type]
        used.append((await doors.post(person, LEFT))[2]["data"]["rateLimit"]["used"])
    assert used == [52 + 10 + 1 + 10 + 1] * 4


async def get(doors: Doors, person: Person, query: str = COSTLY) -> Any:
    parameters = {"query": query}
    async with doors.session.get(doors.served.url, params=parameters, headers=doors.headers(person)) as answer:
        return (await answer.json(content_type=None))["errors"][0]


async def sse(doors: Doors, person: Person, query: str = COSTLY) -> Any:
    headers = doors.headers(person, Accept="text/event-stream")
    async with doors.session.post(doors.served.url, json={"query": query}, headers=headers) as answer:
        lines = (await answer.text()).splitlines()
    return json.loads(lines[1].removeprefix("data: "))["errors"][0]


async def socket(doors: Doors, person: Person, query: str = COSTLY) -> Any:
    async with doors.session.ws_connect(doors.served.url, protocols=("graphql-transport-ws",)) as opened:
        payload = {"authorization": doors.headers(person)["Authorization"]}
        await opened.send_json({"type": "connection_init", "payload": payload})
        await opened.receive_json()
        await opened.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
        return (await opened.receive_json())["payload"][0]


async def test_the_anonymous_pay_by_address_as_the_proxies_tell_it(open_doors: Open) -> None:
    doors = await open_doors(address=100, proxies=1)
    first, second = (f"2001:db8:{secrets.token_hex(2)}:{number}::1" for number in (1, 2))
    for _ in range(2):
        assert (await doors.post(None, COSTLY, **{"X-Forwarded-For": f"9.9.9.9, {first}"}))[0] in (200, 429)
    refused = await doors.post(None, COSTLY, **{"X-Forwarded-For": f"8.8.8.8, {first}"})
    assert refused[0] == 429
    assert (await doors.post(None, COSTLY, **{"X-Forwarded-For": f"{first}, {second}"}))[0] == 200


async def test_refused_documents_are_paid_for(open_doors: Open, make_person: MakePerson) -> None:
    doors, ana = await open_doors(person=100), await make_person()
    for _ in range(10):
        assert (await doors.post(ana, "{ nothing }"))[0] == 400
    assert (await doors.post(ana, "{ nothing }"))[0] == 429


async def test_the_budget_can_be_asked_for_and_what_something_would_cost(
    open_doors: Open, make_person: MakePerson
) -> None:
    doors, ana = await open_doors(), await make_person()
    _, _, body = await doors.post(ana, LEFT)
    found = body["data"]["rateLimit"]
    assert found | {"resetAt": ""} == {
        "cost": 1, "nodeCount": 0, "limit": LIMIT, "remaining": LIMIT - 1, "used": 1, "resetAt": "",
    }  # fmt: skip
    dry = "query($dry: Boolean) { ...F me { followers(first: 50) { nodes { id } } } }"
    dry += " fragment F on Query { rateLimit(dryRun: $dry) { cost used } again: me { id } }"
    request = {"query": dry, "variables": {"dry": True}}
    async with doors.session.post(doors.served.url, json=request, headers=doors.headers(ana)) as answer:
        assert (await answer.json())["data"] == {"rateLimit": {"cost": 54, "used": 2}}
    request["variables"] = {"dry": False}
    async with doors.session.post(doors.served.url, json=request, headers=doors.headers(ana)) as answer:
        data = (await answer.json())["data"]
    assert list(data) == ["rateLimit", "again", "me"]
    assert data["rateLimit"] == {"cost": 54, "used": 56}


async def test_what_was_done_too_often_is_told_with_the_limits_of_its_class(
    open_doors: Open, make_person: MakePerson
) -> None:
    doors, ana, bo = await open_doors(), await make_person(), await make_person()
    follow = f'mutation {{ followUser(input: {{userId: "{bo.opaque_id}"}}) {{ userErrors {{ code }} }} }}'
    assert (await doors.post(ana, follow))[2]["data"] == {"followUser": {"userErrors": []}}
    query = "{ rateLimit { operations { operation limit windowSeconds remaining used } } }"
    rows = (await doors.post(ana, query))[2]["data"]["rateLimit"]["operations"]
    assert [row for row in rows if row["operation"] == "FOLLOW"] == [
        {"operation": "FOLLOW", "limit": 60, "windowSeconds": 60, "remaining": 59, "used": 1},
        {"operation": "FOLLOW", "limit": 1000, "windowSeconds": 86400, "remaining": 999, "used": 1},
    ]
    quotas = doors.served.parts.backend.quotas
    for _ in range(59):
        await quotas.count(Payer(ana.id), OperationClass.FOLLOW)
    status, headers, body = await doors.post(ana, follow)
    assert (status, body["errors"][0]["extensions"]["code"]) == (429, "RATE_LIMITED")
    assert int(headers["Retry-After"]) > 0
    url = f"{doors.base}/v1/social/follow/{bo.opaque_id}"
    async with doors.session.post(url, headers=doors.headers(ana)) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0


async def test_a_hidden_person_costs_what_nobody_costs(open_doors: Open, make_person: MakePerson) -> None:
    doors, ana, bo = await open_doors(), await make_person(), await make_person()
    await blocks.block(bo.context, ana.opaque_id, expires_at=None)
    bodies = []
    for name in (bo.name, "q" * len(bo.name)):
        query = f'{{ user(username: "{name}") {{ followers(first: 9) {{ nodes {{ bio }} }} }} rateLimit {{ cost }} }}'
        _, headers, body = await doors.post(ana, query)
        bodies.append((body, int(headers["x-ratelimit-used"])))
    assert bodies[0][0] == bodies[1][0]
    assert bodies[1][1] == 2 * bodies[0][1]


async def test_a_warm_profile_costs_one_round_trip_with_everything_on(
    open_doors: Open, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors, ana = await open_doors(), await make_person()
    query = f'{{ user(username: "{ana.name}") {{ id username bio followersCount viewerIsFollowing }} }}'
    seen: list[tuple[int, int]] = []
    while len(seen) < 20 and (1, 0) not in seen:  # what goes on beside the requests may fall into some of them
        with spending(monkeypatch) as spent:
            assert (await doors.post(ana, query))[0] == 200
        seen.append((spent.trips, sum(spent.statements.values())))
    assert seen[-1] == min(seen) == (1, 0)


async def test_without_limits_there_is_nothing_to_tell() -> None:
    quotas = Unlimited()
    assert quotas.budget(Payer()) is None
    assert list(await quotas.rates(Payer())) == []
