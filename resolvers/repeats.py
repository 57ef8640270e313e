"""A mutation that its client has named runs once, however often it is sent."""

import datetime as dt
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from domain.errors import Conflict, KithError, Overloaded
from domain.repeats import RUNS_FOR, Effects, Repeatable, RepeatKeys, recording
from storage.database import Database
from storage.repeats import Claim, claim, keep_answer, let_go

Response = dict[str, Any]
Run = Callable[[], Awaitable[Response]]

MAX_ANSWER_BYTES: Final = 256 * 1024
"""What is longer is made anew for a repeat, from what there is then; its effects are not."""

_PASSING: Final = frozenset(
    {
        "OVERLOADED",
        "DEADLINE_EXCEEDED",
        "RATE_LIMITED",
        "INTERNAL_SERVER_ERROR",
        "UNAUTHENTICATED",
        "FORBIDDEN",
        "STEP_UP_REQUIRED",
    }
)
"""Errors that tell clients to send the same again: an answer that has one is not the last word."""


class KeyReused(KithError):
    """This key belongs to another request of yours; take a new key for each."""

    code = "IDEMPOTENCY_KEY_REUSED"


class StillRunning(Conflict):
    """The request with this key is still running; send it again after `retryAfter` seconds."""


class Repeats:
    """Runs named mutations."""

    def __init__(self, database: Database, keys: RepeatKeys) -> None:
        self._database = database
        self._keys = keys

    async def once(self, user_id: int, name: str, asked: bytes, run: Run) -> Response:
        """Run a mutation, or give the answer that it had; `asked` is all that makes it another one.

        Raises:
            KeyReused: the name was given to another request.
            StillRunning: it is running elsewhere.
            Overloaded: the person's cell does not answer; nothing was done.
        """
        wanted, runner, now = self._keys.of(user_id, name, asked), uuid.uuid4(), dt.datetime.now(dt.UTC)
        claimed = await claim(self._database, wanted, runner, now)
        if claimed is None:
            return await run()
        if claimed.asked != wanted.asked:
            raise KeyReused
        if claimed.answer is not None:
            return _opened(wanted, claimed.answer)
        if claimed.runner != runner:
            left = min(claimed.runs_until - now, RUNS_FOR).total_seconds()
            raise StillRunning(retryAfter=max(1, math.ceil(left)))
        return await self._run(wanted, claimed, run)

    async def _run(self, wanted: Repeatable, claimed: Claim, run: Run) -> Response:
        response: Response = {}
        try:
            with recording(Effects(wanted, claimed.expires_at)):
                response = await run()
        finally:
            await self._settle(wanted, claimed.runner, response)
        return response

    async def _settle(self, wanted: Repeatable, runner: uuid.UUID, response: Response) -> None:
        """Keep an answer that is the last word; without it, whoever repeats the request may run it at once.

        Where the cell does not take it, the client has its answer all the same, and a repeat passes over the effects.
        """
        answer = msgspec.json.encode(response) if _is_last_word(response) else b""
        try:
            if 0 < len(answer) <= MAX_ANSWER_BYTES:
                await keep_answer(self._database, wanted, runner, answer)
            else:
                await let_go(self._database, wanted, runner, dt.datetime.now(dt.UTC))
        except Overloaded:
            pass


def _is_last_word(response: Response) -> bool:
    errors: list[Mapping[str, Any]] = response.get("errors", [])
    return bool(response) and _PASSING.isdisjoint(error["extensions"]["code"] for error in errors)


def _opened(wanted: Repeatable, sealed: bytes) -> Response:
    answer = wanted.open(sealed)
    if answer is None:
        raise KeyReused
    response: Response = msgspec.json.decode(answer)
    return response
