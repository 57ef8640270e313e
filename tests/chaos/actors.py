"""People who act without pause, repeat what was not acknowledged, and know what must have come of it."""

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import aiohttp

from tests.acceptance.people import Person

ANSWER_WITHIN_S: Final = 10.0
PAUSE_S: Final = 0.05
AWAY: Final = (aiohttp.ClientError, OSError, TimeoutError)
_ACT: Final = "mutation($id: ID!) {{ {name}(input: {{userId: $id}}) {{ userErrors {{ code }} }} }}"
_EDIT: Final = "mutation($bio: String!) { updateProfile(input: {bio: $bio}) { userErrors { code } } }"


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """One event that an acknowledged mutation must have had: its type, and the other's id where there is one."""

    type: str
    other: str | None = None


@dataclasses.dataclass(slots=True)
class Tally:
    """What all actors did together."""

    acknowledged: int = 0
    repeated: int = 0
    """Attempts without an answer, or with one that says to try again."""
    errors_now: list[str] = dataclasses.field(default_factory=list)
    """Codes of errors since this was last emptied."""
    wrong: list[str] = dataclasses.field(default_factory=list)
    """Answers that no fault explains."""


@dataclasses.dataclass(slots=True)
class _Tie:
    follows: bool = False
    blocks: bool = False
    mutes: bool = False


@dataclasses.dataclass(slots=True)
class Actor:
    """One person; nobody else changes what this one is to the others."""

    person: Person
    others: Sequence[Person]
    chance: random.Random
    tally: Tally
    expected: list[Expected] = dataclasses.field(default_factory=list)
    _ties: dict[str, _Tie] = dataclasses.field(default_factory=dict)
    _edits: int = 0

    async def run(self, session: aiohttp.ClientSession, is_enough: Callable[[], bool]) -> None:
        """Act until it is enough."""
        while not is_enough():
            await self.act(session)

    async def act(self, session: aiohttp.ClientSession) -> None:
        """Do one thing that changes something, for sure."""
        if self.chance.random() < 0.1:
            self._edits += 1
            await self._insist(session, _EDIT, {"bio": f"edit {self._edits}"})
            self.expected.append(Expected("user.updated"))
        else:
            await self._change_tie(session, self.chance.choice(self.others))
        self.tally.acknowledged += 1

    def follows(self, other: Person) -> bool:
        """Tell whether this one follows another, by all that was acknowledged."""
        return self._ties.get(other.id, _Tie()).follows

    async def _change_tie(self, session: aiohttp.ClientSession, other: Person) -> None:
        tie = self._ties.setdefault(other.id, _Tie())
        name, events = self._choose(tie)
        await self._insist(session, _ACT.format(name=name), {"id": other.id})
        self.expected += [Expected(event, other.id) for event in events]

    def _choose(self, tie: _Tie) -> tuple[str, list[str]]:
        """Choose what to do, and say what must come of it."""
        if tie.blocks:
            tie.blocks = False
            return "unblockUser", ["user.unblocked"]
        lot = self.chance.random()
        if lot < 0.15:
            events = ["user.blocked", *(["follow.removed"] if tie.follows else [])]
            tie.blocks, tie.follows = True, False
            return "blockUser", events
        if lot < 0.25:
            tie.mutes = not tie.mutes
            return ("muteUser", ["user.muted"]) if tie.mutes else ("unmuteUser", ["user.unmuted"])
        tie.follows = not tie.follows
        return ("followUser", ["follow.created"]) if tie.follows else ("unfollowUser", ["follow.removed"])

    async def _insist(self, session: aiohttp.ClientSession, document: str, variables: dict[str, Any]) -> None:
        """Repeat a mutation until it is acknowledged."""
        while True:
            code = await self._try(session, document, variables)
            if code is None:
                return
            self.tally.repeated += 1
            self.tally.errors_now.append(code)
            await asyncio.sleep(PAUSE_S)

    async def _try(self, session: aiohttp.ClientSession, document: str, variables: dict[str, Any]) -> str | None:
        """Give None once it is acknowledged, or else why not."""
        with contextlib.suppress(*AWAY):
            body = {"query": document, "variables": variables}
            async with session.post(self.person.job.url, json=body, headers=self.person.headers) as response:
                answer = await response.json(content_type=None)
            if "errors" in answer:
                return str(answer["errors"][0]["extensions"]["code"])
            [payload] = answer["data"].values()
            if payload["userErrors"]:
                self.tally.wrong.append(str(payload["userErrors"]))
            return None
        return "no answer"
