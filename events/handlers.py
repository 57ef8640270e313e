"""The effects of facts: rows of other cells brought up to date, and people told. Each may be repeated."""

from collections.abc import Awaitable, Callable

from domain.events import EventType, UserPayload
from events.notifying import notify
from events.people import internal_of, pair_of
from events.records import ReceivedEvent
from events.remembering import refresh
from storage.channels import Notice, give_notice
from storage.database import Database
from storage.pairs import apply_side
from storage.purges import OWN, acknowledge
from storage.redis_client import Redis
from storage.relationships import fetch_truth

Effect = Callable[[ReceivedEvent], Awaitable[None]]


class Handlers:
    """What this service itself does about facts."""

    def __init__(self, database: Database, redis: Redis) -> None:
        self._database = database
        self._redis = redis
        self._effects: tuple[Effect, ...] = (
            self._mirror,
            self._refresh,
            self._notify,
            self._cut_off,
            self._acknowledge,
        )

    async def handle(self, event: ReceivedEvent) -> None:
        """Have every effect of a fact, in order.

        Raises:
            Overloaded: a cell does not answer; the fact is to be repeated.
        """
        for effect in self._effects:
            await effect(event)

    async def _mirror(self, event: ReceivedEvent) -> None:
        """Bring the row that does not decide up to date, where the two people live in different cells.

        The row that decides is read now: a late or repeated fact brings the state of today, not that of its own time.
        """
        pair = pair_of(self._database.ids, event)
        if pair is None or self._database.shards.home(pair[0]) is self._database.shards.home(pair[1]):
            return
        low, high = sorted(pair)
        await apply_side(self._database, high, low, await fetch_truth(self._database, low, high))

    async def _refresh(self, event: ReceivedEvent) -> None:
        """Let nothing from before the fact be found in Redis; after the mirroring, whose row it may be about."""
        await refresh(self._database, self._redis, event)

    async def _notify(self, event: ReceivedEvent) -> None:
        """Tell whom the fact concerns; after the mirroring, which the question whether it still holds rests on."""
        pair = pair_of(self._database.ids, event)
        if pair is not None:
            await notify(self._database, self._redis, event, pair)

    async def _cut_off(self, event: ReceivedEvent) -> None:
        """Have the servers look whether somebody who has changed may still be connected."""
        if isinstance(event.payload, UserPayload) and event.type is not EventType.USER_CREATED:
            await give_notice(self._redis, Notice(user_id=internal_of(self._database.ids, event.payload.user_id)))

    async def _acknowledge(self, event: ReceivedEvent) -> None:
        """Say that nothing is left here of somebody who is purged; last, so that every other effect is had."""
        if event.type is EventType.USER_PURGED and isinstance(event.payload, UserPayload):
            await acknowledge(self._database, internal_of(self._database.ids, event.payload.user_id), OWN)
