"""Facts are sent to no other life of the broker than the one they are meant for.

The client connects again by itself, and repeats what was under way. Over such a connection a broker that came back
empty would get a fact before all those of its key that it lost, out of order for whoever had not read these yet.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest


def confirm_connections(producer: AIOKafkaProducer, confirm: Callable[[], Awaitable[None]]) -> None:
    """Have each connection of a producer confirmed before the first facts are sent over it.

    `confirm` raises KafkaError where the broker is not what it was, and is asked while the connection is there: whoever
    answers it lives the life at the connection's other end, for a connection ends with the broker.
    """
    client: Any = producer.client
    send = client.send
    confirmed: dict[int, object] = {}

    async def send_confirmed(node: int, request: Any, **options: Any) -> Any:
        while isinstance(request, ProduceRequest):
            connection = await client._get_conn(node)  # noqa: SLF001 - what the client is about to send over
            if connection is None:
                raise NodeNotReadyError
            if confirmed.get(node) is connection:
                break  # nothing is waited for until it is used
            try:
                await confirm()
            except (OSError, TimeoutError) as error:
                raise RequestTimedOutError from error
            confirmed[node] = connection
        return await send(node, request, **options)

    client.send = send_confirmed
