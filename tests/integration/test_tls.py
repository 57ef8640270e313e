"""TLS to the parts: whoever answers must have a certificate of our authority for the host that was asked for."""

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest
import redis.asyncio as aioredis
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from embedded import Addresses
from events.security import client_options
from identity.__main__ import Sockets, serve
from settings import load
from storage.cells import open_cells
from storage.redis_client import CacheUnavailable, open_redis
from tests.conftest import eventually
from tests.tls import Authority, terminating
from tls import TlsFiles, is_verified, verified_dsn, verified_kafka, verified_redis

HOST = "localhost"
REFUSED = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError, KafkaError, EOFError)


class Part:
    """A part behind TLS: how its address is written, and how it is asked whether it is there."""

    def __init__(self, kind: str, addresses: Addresses) -> None:
        self.kind = kind
        behind = {
            "PostgreSQL": addresses.postgres_dsns[0],
            "Valkey": addresses.redis_url,
            "broker": addresses.kafka_bootstrap,
        }
        self.behind = behind[kind]

    def address(self, host: str, port: int, files: TlsFiles) -> str:
        if self.kind == "Valkey":
            return verified_redis(f"rediss://{host}:{port}", files)
        if self.kind == "broker":
            return verified_kafka(f"{host}:{port}", files)
        parts = urlsplit(self.behind)
        return verified_dsn(f"postgresql://{parts.username}@{host}:{port}{parts.path}", files)

    async def ask(self, address: str) -> None:
        """Ask with all the time that it takes; raises one of `REFUSED`."""
        if self.kind == "Valkey":
            async with aioredis.from_url(address, socket_timeout=60) as client:
                await client.ping()
        elif self.kind == "broker":
            client = AIOKafkaClient(**client_options(address), request_timeout_ms=60_000)
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(client.close)
                await client.bootstrap()
        else:
            connection = await asyncpg.connect(address, timeout=60)
            await connection.close()


@pytest.fixture(params=["PostgreSQL", "Valkey", "broker"])
def part(request: pytest.FixtureRequest, addresses: Addresses) -> Part:
    return Part(request.param, addresses)


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
async def port(part: Part, ours: Authority) -> AsyncIterator[int]:
    """Give the port on which the part speaks TLS, as the host that it is, and asks for no certificate."""
    async with terminating(ours.server(HOST), part.behind) as opened:
        yield opened


async def test_a_part_that_our_authority_knows_by_its_host_is_spoken_to(part: Part, ours: Authority, port: int) -> None:
    address = part.address(HOST, port, TlsFiles(ours.ca))
    assert is_verified(address)
    await part.ask(address)


async def test_a_part_of_another_authority_is_refused(part: Part, port: int, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "theirs")
    with pytest.raises(REFUSED):
        await part.ask(part.address(HOST, port, TlsFiles(stranger.ca)))


async def test_a_part_at_another_host_than_its_certificate_is_for_is_refused(
    part: Part, ours: Authority, port: int
) -> None:
    with pytest.raises(REFUSED):
        await part.ask(part.address("127.0.0.1", port, TlsFiles(ours.ca)))


async def test_a_part_that_asks_for_a_certificate_gets_ours_and_nobody_else_is_let_in(
    part: Part, ours: Authority
) -> None:
    files = TlsFiles(ours.ca, *ours.certify("kith.example"))
    async with terminating(ours.server(HOST, asks_for_certificates=True), part.behind) as port:
        await part.ask(part.address(HOST, port, files))
        with pytest.raises(REFUSED):
            await part.ask(part.address(HOST, port, TlsFiles(ours.ca)))


async def test_the_clients_of_the_service_read_the_files_off_the_address(addresses: Addresses, ours: Authority) -> None:
    database, valkey = Part("PostgreSQL", addresses), Part("Valkey", addresses)
    async with (
        terminating(ours.server(HOST), database.behind) as database_port,
        terminating(ours.server(HOST), valkey.behind) as valkey_port,
        open_cells([database.address(HOST, database_port, TlsFiles(ours.ca))], connections=1) as shards,
        open_redis(valkey.address(HOST, valkey_port, TlsFiles(ours.ca))) as opened,
    ):

        async def answers() -> bool:
            with contextlib.suppress(CacheUnavailable):  # a busy machine may shake hands too late
                await opened.ping()
                return True
            return False

        await eventually(answers, within=60)
        await shards.directory.ping()


@pytest.fixture
async def auth_service(
    identity_dsn: str, addresses: Addresses, ours: Authority, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """Run the auth service with a certificate of its own; gives its address."""
    chain, key = ours.certify(HOST)
    handlers: dict[int, Callable[[], object]] = {}
    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", handlers.__setitem__)
    monkeypatch.setattr("os._exit", handlers.get)  # what would end a process that cannot stop ends nothing here
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://{HOST}:{listener.getsockname()[1]}"
        settings = load(
            {
                "KITH_DATA_DIR": str(short_folder / "identity"),  # its key opens what the tests before have written
                "KITH_IDENTITY_DSN": identity_dsn,
                "KITH_IDENTITY_URL": url,
                "KITH_REDIS_URL": addresses.redis_url,
                "KITH_TLS_CERT": str(chain),
                "KITH_TLS_KEY": str(key),
            }
        )
        serves = asyncio.Event()
        serving = asyncio.create_task(serve(settings, Sockets([listener]), serves.set))
        starting = asyncio.create_task(serves.wait())
        await asyncio.wait([serving, starting], return_when=asyncio.FIRST_COMPLETED, timeout=60)
        starting.cancel()
        try:
            assert serves.is_set(), serving
            yield url
        finally:
            handlers[signal.SIGTERM]()
            await serving


async def test_the_auth_service_speaks_tls_1_3_and_nothing_older(auth_service: str, ours: Authority) -> None:
    older, newest = ssl.create_default_context(cafile=ours.ca), ssl.create_default_context(cafile=ours.ca)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    newest.minimum_version = ssl.TLSVersion.TLSv1_3
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{auth_service}/sign-in", ssl=newest) as response:
            assert response.status == 200
        for context, url in ((older, auth_service), (None, auth_service.replace("https", "http"))):
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"{url}/sign-in", ssl=context or True)
