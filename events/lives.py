"""Facts and positions are told to no other life of the broker than the one they are meant for.

The client connects again by itself, and repeats what was under way. Over such a connection a broker that came back
empty would get a fact before all those of its key that it lost, out of order for whoever had not read these yet; or a
position in what it no longer has, before which the group would read nothing of what it is fed again.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.produce import ProduceRequest

_TELLING: Final = (ProduceRequest, OffsetCommitRequest)
Confirm = Callable[[], Awaitable[None]]
"""Raises BrokerLost where the broker's life is another."""


class BrokerLost(KafkaError):  # type: ignore[misc] # the library does not annotate it
    """The broker has begun a new life; what it holds now is read from the start."""


def confirm_connections(client: AIOKafkaProducer | AIOKafkaConsumer, confirm: Confirm) -> None:
    """Have each connection of a client confirmed before the first fact or position is sent over it.

    `confirm` is asked while the connection is there: whoever answers it lives the life at the connection's other end,
    for a connection ends with the broker.
    """
    inner: Any = client.client if isinstance(client, AIOKafkaProducer) else client._client  # noqa: SLF001 - no other way
    send = inner.send
    confirmed: dict[tuple[int, ConnectionGroup], object] = {}

    async def send_confirmed(node: int, request: Any, *, group: ConnectionGroup = ConnectionGroup.DEFAULT) -> Any:
        while isinstance(request, _TELLING):
            connection = await inner._get_conn(node, group=group)  # noqa: SLF001 - what is about to be sent over
            if connection is None:
                raise NodeNotReadyError
            if confirmed.get((node, group)) is connection:
                break  # nothing is waited for until it is used
            try:
                await confirm()
            except (OSError, TimeoutError) as error:
                raise RequestTimedOutError from error
            confirmed[node, group] = connection
        return await send(node, request, group=group)

    inner.send = send_confirmed
