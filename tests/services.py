"""The parts that the tests run on: embedded, or containers where `KITH_TEST_SERVICES=containers` asks for them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from embedded import Addresses, Services
from settings import TestServices as ServiceChoice


@contextlib.asynccontextmanager
async def open_services(folder: Path, *, cells: int) -> AsyncIterator[Addresses]:
    """Run the three parts, with that many databases."""
    if os.environ.get("KITH_TEST_SERVICES", "embedded") == ServiceChoice.CONTAINERS:
        with contextlib.ExitStack() as stack:
            yield await _containers(stack, cells)
    else:
        async with Services(folder, cells=cells, report=lambda _line: None) as services:
            yield services.addresses


async def _containers(stack: contextlib.ExitStack, cells: int) -> Addresses:
    """Start containers on this machine's Docker daemon; what fails there fails the session with its own words."""
    from testcontainers.kafka import KafkaContainer  # noqa: PLC0415 - not needed, and slow, in the ordinary run
    from testcontainers.postgres import PostgresContainer  # noqa: PLC0415
    from testcontainers.redis import RedisContainer  # noqa: PLC0415

    postgres, redis, kafka = await asyncio.gather(
        asyncio.to_thread(stack.enter_context, PostgresContainer("postgres:18", driver=None)),
        asyncio.to_thread(stack.enter_context, RedisContainer("valkey/valkey:9")),
        asyncio.to_thread(
            stack.enter_context,
            KafkaContainer("confluentinc/cp-kafka:8.0.0")
            .with_kraft()
            .with_env("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "2000"),
        ),
    )
    base: str = postgres.get_connection_url()
    dsns = [await _make_database(base, f"kith_{number}") for number in range(cells)]
    url = f"redis://{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}"
    return Addresses(postgres_dsns=tuple(dsns), redis_url=url, kafka_bootstrap=kafka.get_bootstrap_server())


async def _make_database(base: str, name: str) -> str:
    connection = await asyncpg.connect(base)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    return base.rsplit("/", 1)[0] + "/" + name
