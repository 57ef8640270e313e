"""Lives of Redis servers: what one has confirmed is known for certain only while the same one lives and leads.

A server that was started again may come back with an older snapshot, and a replica that takes over may lack the last of
what its master had confirmed: old epochs then lie together with the facts under them. Each such life has a replication
id of its own. It is read as each connection is made, before anything else is asked on it.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from redis.exceptions import ConnectionError as ConnectionLost

_ROLE: Final = re.compile(rb"role:([a-z]+)")
_LIFE: Final = re.compile(rb"master_replid:([0-9a-f]+)")
KEPT: Final = 64
"""How many lives are noted: as many servers as a cluster has, and as many changes of who leads."""

Meet = Callable[[str], None]


class Lives:
    """The lives that this process has met, and who is to hear of another."""

    def __init__(self) -> None:
        self._met: dict[str, None] = {}
        self._listener: Meet | None = None

    @contextlib.contextmanager
    def told_to(self, meet: Meet) -> Iterator[None]:
        """Tell of every life that was met or will be, each once and before anything that it answers is used."""
        self._listener = meet
        for life in self._met:
            meet(life)
        try:
            yield
        finally:
            self._listener = None

    async def greet(self, connection: Any) -> None:
        """Begin a connection; raises ConnectionLost.

        One to a replica serves a single command, as it may lead by the next: it is then made anew.
        """
        await connection.on_connect()
        await connection.send_command("INFO", "replication")
        answer = await connection.read_response()
        told = answer if isinstance(answer, bytes) else str(answer).encode()
        role, life = _ROLE.search(told), _LIFE.search(told)
        if role is None or life is None:
            raise ConnectionLost("a server does not say who it is")
        if role[1] == b"master":
            self._meet(life[1].decode())
        else:
            connection.mark_for_reconnect()

    def _meet(self, life: str) -> None:
        if life in self._met:
            return
        while len(self._met) >= KEPT:
            del self._met[next(iter(self._met))]
        self._met[life] = None
        if self._listener is not None:
            self._listener(life)
