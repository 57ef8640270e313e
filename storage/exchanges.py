"""Commands sent to Redis and answers read back with as little as possible in between: it is on every request's way.

The client's own way packs commands in Python, waits for each write in a task, has a timeout for each answer and takes
a connection from its pool under a condition. Here connections are kept between two exchanges, and whoever calls has a
timeout for all of it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
import redis.asyncio as aioredis
from redis.exceptions import RedisError

Command = tuple[str | bytes | int, ...]
KEPT: Final = 6
"""Connections at most; the pool has more, for what is not exchanged."""
_FOREVER: Final = math.inf
_PACK: Final[Callable[[Command], bytes]] = cast("Any", hiredis.pack_command)


class Exchanges:
    """Exchanges of one client, which closes the connection that is kept here with all others."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[Any] = []

    async def send(self, client: aioredis.Redis, commands: Sequence[Command]) -> list[Any]:
        """Send commands at once and give the answers as they come; to be called under a timeout.

        Raises:
            RedisError: the server cannot be reached, or one of the answers is an error.
            OSError: the connection broke.
        """
        pool: Any = client.connection_pool
        connection = await self._take(pool)
        try:
            await connection._send_packed_command(list(map(_PACK, commands)))  # noqa: SLF001 - see above
            answers = [await connection.read_response(timeout=_FOREVER) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)  # answers may be left unread
            await pool.release(connection)
            raise
        if len(self._kept) < KEPT:
            self._kept.append(connection)
        else:
            await pool.release(connection)
        return answers

    async def _take(self, pool: Any) -> Any:
        """Take the connection that was kept last, or one of the pool's: both are looked at before they are used."""
        if not self._kept:
            return await pool.get_connection()
        connection = self._kept.pop()
        is_good = False
        try:
            # Nothing is left unread, nor the end.
            is_good = connection.is_connected and not await connection.can_read()
        except RedisError:
            pass
        finally:  # whoever is cancelled here leaves no connection behind either
            if not is_good:
                await connection.disconnect(nowait=True)
                await pool.release(connection)
        return connection if is_good else await pool.get_connection()
