"""Commands sent to Redis and answers read back with as little as possible in between: it is on every request's way.

The client's own way packs commands in Python, waits for each write in a task, has a timeout for each answer and takes
a connection from its pool under a condition. Here a connection is kept between two exchanges, and whoever calls has a
timeout for all of it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
import redis.asyncio as aioredis
from redis.exceptions import RedisError

Command = tuple[str | bytes | int, ...]
_FOREVER: Final = math.inf
_PACK: Final[Callable[[Command], bytes]] = cast("Any", hiredis.pack_command)


class Exchanges:
    """Exchanges of one client, which closes the connection that is kept here with all others."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: Any = None

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
        if self._kept is None:
            self._kept = connection
        else:
            await pool.release(connection)
        return answers

    async def _take(self, pool: Any) -> Any:
        """Take the connection that is kept, or one of the pool's: both are looked at before they are used."""
        connection, self._kept = self._kept, None
        if connection is None:
            return await pool.get_connection()
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
