"""What clients saw of one pair, and whether one order of the actions explains it all: linearizability.

Sources: Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects" (1990); the search is that
of Wing and Gong, "Testing and verifying concurrent objects" (1993), with the memory of visited states of Lowe (2017).
"""

import dataclasses
import datetime as dt
import math
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from domain.relationships import STRANGERS, Relationship
from domain.transitions import PairEvent, Transition

_NOW: Final = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What an action on a pair answered; the state is the lower id's side, without times. None: not available."""

    events: tuple[PairEvent, ...]
    state: Relationship


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One action of one client: when it was sent and answered, and what came; `is_known` is False where nothing did."""

    name: str
    transition: Transition
    by_low: bool
    invoked: float
    answered: float = math.inf
    answer: Answer | None = None
    is_known: bool = True


def plain(side: Relationship) -> Relationship:
    """Leave out of a pair what tells of time, and what is the owner's own affair."""
    return Relationship(
        follows=side.follows,
        followed_by=side.followed_by,
        blocks=side.blocks,
        blocked_by=side.blocked_by,
        version=side.version,
    )


def step(state: Relationship, operation: Operation) -> tuple[Answer | None, Relationship]:
    """Do an action on a pair as if nobody else were there: the sequential rule that every order is held to."""
    side = state if operation.by_low else state.mirrored()
    change = operation.transition(side, _NOW)
    if change is None:
        return None, state
    after = plain(change.after)
    if change.events:
        after = msgspec.structs.replace(after, version=state.version + 1)
    after = after if operation.by_low else after.mirrored()
    return Answer(change.events, after), after


def is_linearizable(history: Sequence[Operation], end: Relationship, start: Relationship = STRANGERS) -> bool:
    """Tell whether one order of the actions, true to what came after what, gives every answer and the state at the end.

    An action without an answer may have happened at any time after it was sent, or not at all.
    """
    operations = sorted(history, key=lambda operation: operation.invoked)
    needed = sum(1 << number for number, operation in enumerate(operations) if operation.is_known)
    waiting = [(0, start)]
    visited = set(waiting)
    while waiting:
        done, state = waiting.pop()
        if done & needed == needed and state == end:
            return True
        for following in _next(operations, done, state):
            if following not in visited:
                visited.add(following)
                waiting.append(following)
    return False


def _next(operations: Sequence[Operation], done: int, state: Relationship) -> list[tuple[int, Relationship]]:
    """Give what can come next: each action that nothing unfinished precedes and whose answer fits this state."""
    found = []
    for number in _first(operations, done):
        operation = operations[number]
        answer, after = step(state, operation)
        if not operation.is_known:
            if after != state:
                found.append((done | 1 << number, after))
        elif answer == operation.answer:
            if after == state:
                return [(done | 1 << number, state)]  # it changes nothing: to take it now is never wrong
            found.append((done | 1 << number, after))
    return found


def _first(operations: Sequence[Operation], done: int) -> Iterator[int]:
    """Name the actions that were sent before any unfinished one was answered."""
    answered = math.inf
    lowest = (~done & (done + 1)).bit_length() - 1
    for number in range(lowest, len(operations)):
        if done >> number & 1:
            continue
        if operations[number].invoked > answered:
            return
        answered = min(answered, operations[number].answered)
        yield number
