"""Which node of Redis a channel is at: a sharded channel lives where the keys of its slot do."""

import asyncio
import logging
from typing import Final
from urllib.parse import urlsplit

import redis.asyncio as aioredis
from redis.exceptions import RedisClusterException

from storage.redis_client import CLUSTER, make_cluster, node_urls

_LOG: Final = logging.getLogger(__name__)
_LEARN_TIMEOUT_S: Final = 2.0


class ChannelNodes:
    """The address of the node of each channel; a Redis that is no cluster is one node that has them all."""

    def __init__(self, url: str) -> None:
        self._first = node_urls(url)[0]
        self._cluster: aioredis.RedisCluster | None = make_cluster(url) if CLUSTER in url else None

    def address_of(self, channel: str) -> str | None:
        """Give the address of a channel's node; None where it is not known, or the slot is nowhere now."""
        if self._cluster is None:
            return self._first
        try:
            node = self._cluster.get_node_from_key(channel)
        except RedisClusterException:
            return None
        return None if node is None else _beside(self._first, f"{node.host}:{node.port}")

    async def learn(self) -> None:
        """Ask a cluster anew which node has what; where none answers, what was known stays."""
        if self._cluster is None:
            return
        try:
            async with asyncio.timeout(_LEARN_TIMEOUT_S):
                await self._cluster.aclose()
                _ = await self._cluster.initialize()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the channels whose nodes are known go on
            _LOG.warning("no node tells where the channels are: %s", type(error).__name__)

    async def aclose(self) -> None:
        """Close what it asks with."""
        if self._cluster is not None:
            await self._cluster.aclose()


def _beside(url: str, host: str) -> str:
    """Give the address of another node of the same cluster."""
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}{host}").geturl()
