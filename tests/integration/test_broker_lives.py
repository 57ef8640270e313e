"""A broker that comes back empty: what is told to it of the life before."""

import asyncio
import contextlib
import os
import signal
import uuid
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from embedded import Part, Services
from events.clients import ClientFailed, ask
from events.groups import open_member, wait_for_topics
from events.lives import BrokerLost
from tests.conftest import eventually
from tests.integration.brokers import begin_life, open_broker, open_writer

TOPIC = "users.v1"
PLACE = TopicPartition(TOPIC, 0)
SESSION_TIMEOUT_MS = 2000


async def begin_again(services: Services) -> None:
    """Kill the broker, and begin another life as the relay does, with two records in it."""
    killed = services.pid(Part.BROKER)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    async def has_begun() -> bool:
        if services.pid(Part.BROKER) in (None, killed):
            return False
        with contextlib.suppress(KafkaError):
            await begin_life(services.addresses.kafka_bootstrap)
            return True
        return False

    await eventually(has_begun)
    await write(services.addresses.kafka_bootstrap)


async def write(bootstrap: str) -> None:
    async with open_writer(bootstrap) as writer:
        for n in range(2):
            await writer.send_and_wait(TOPIC, b"%d" % n, partition=PLACE.partition)


async def test_how_far_a_group_had_come_is_not_told_to_the_brokers_next_life(short_folder: Path) -> None:
    """The client joins the group again by itself, and could commit there: what is fed again would not be read."""
    group = f"g{uuid.uuid4().hex}"
    async with open_broker(short_folder) as services:
        bootstrap = services.addresses.kafka_bootstrap
        await write(bootstrap)
        marks = await wait_for_topics(bootstrap, (TOPIC,))
        async with open_member(bootstrap, group, (TOPIC,), SESSION_TIMEOUT_MS, marks) as member:
            assert (await ask(member.getone(PLACE))).offset == 0
            await member.commit({PLACE: 1})
            await begin_again(services)

            async def is_refused() -> bool:
                try:
                    await ask(member.commit({PLACE: 2}))
                except BrokerLost:
                    return True
                except (KafkaError, ClientFailed):
                    await asyncio.sleep(0.1)
                    return False
                raise AssertionError("It was committed.")

            await eventually(is_refused)
        marks = await wait_for_topics(bootstrap, (TOPIC,))
        async with open_member(bootstrap, group, (TOPIC,), SESSION_TIMEOUT_MS, marks) as member:
            assert (await ask(member.getone(PLACE))).offset == 0
