"""A database of the auth service that is away, or fails in ways that nobody thought of."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator

from identity.database import Connection, Database, Unavailable


class Crash(Exception):
    """Something nobody thought of, whose text holds all that was at hand."""


@dataclasses.dataclass(frozen=True, slots=True)
class Faulty(Database):
    """A database that is away, or that fails at the beginning or at the end of what is done with it."""

    fault: str
    text: str

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        if self.fault == "away":
            raise Unavailable from OSError(self.text)
        if self.fault == "begin":
            raise Crash(self.text)
        async with super(Faulty, self).connection() as connection:
            yield connection
        raise Crash(self.text)
