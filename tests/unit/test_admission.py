"""The door: how many operations are let in follows how late the loop is."""

import asyncio
import contextlib
from typing import Final

import pytest

from transport.admission import BUSY, LATE_S, LEAST, LONGEST_S, ROOM, WAIT_S, WINDOW_S, Admission
from transport.eager import Eager

REQUEST: Final = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class Clock:
    """Windows of a loop that is as late as is said, in a process that computes a share of the time."""

    def __init__(self, admission: Admission, busy: float = 1.0) -> None:
        self.admission = admission
        self.now = admission._decided
        self.busy = busy
        admission._computed = self.now * busy
        admission._clock = lambda: self.now

    def windows(self, number: int, lag: float) -> None:
        for _ in range(number):
            for _ in range(10):
                self.now += WINDOW_S / 9
                self.admission.note(lag, self.now, self.now * self.busy)


def door(most: int = 50, room: int = 0) -> Admission:
    """Make a door at which nobody waits unless there is room."""
    return Admission("/graphql", most=most, room=room)


async def asked(admission: Admission, number: int) -> list[asyncio.Task[bool]]:
    """Have so many ask for their turn."""
    turns = [asyncio.create_task(admission.turn()) for _ in range(number)]
    await asyncio.sleep(0)
    return turns


def answers(turns: list[asyncio.Task[bool]]) -> list[bool | None]:
    """Give what each was told, None for those who wait."""
    return [turn.result() if turn.done() else None for turn in turns]


def test_nobody_is_refused_while_the_loop_is_in_time() -> None:
    admission = door()
    Clock(admission).windows(20, 0.0)
    assert admission.limit == 50
    with admission:
        assert not admission.is_full()


def test_a_late_loop_is_given_less_and_never_nothing() -> None:
    admission = door()
    Clock(admission).windows(30, LATE_S * 3)
    assert admission.limit == LEAST
    with contextlib.ExitStack() as stack:
        for _ in range(LEAST):
            assert not admission.is_full()
            stack.enter_context(admission)
        assert admission.is_full()


def test_a_loop_that_others_keep_waiting_refuses_nobody_for_it() -> None:
    admission = door()
    Clock(admission, busy=BUSY / 2).windows(30, LATE_S * 3)
    assert admission.limit == 50


def test_the_later_the_loop_the_less_of_what_ran_at_once_is_left() -> None:
    kept = []
    for lag in (LATE_S * 1.1, LATE_S * 2, LATE_S * 100):
        admission = door(most=500)
        admission._limit = 500.0
        for _ in range(200):
            admission.__enter__()
        clock = Clock(admission)
        clock.windows(1, lag)
        kept.append(admission.limit)
    assert kept == [160, 100, 50]


def test_one_late_moment_in_a_window_changes_nothing() -> None:
    admission = door()
    clock = Clock(admission)
    for _ in range(10):
        clock.now += WINDOW_S / 20
        admission.note(0.0, clock.now, clock.now)
    clock.now += WINDOW_S
    admission.note(1.0, clock.now, clock.now)
    assert admission.limit == 50


async def test_a_loop_that_is_in_time_again_is_given_more_as_long_as_somebody_waits() -> None:
    admission = door(room=1000)
    clock = Clock(admission)
    clock.windows(30, LATE_S * 3)
    assert admission.limit == LEAST
    with admission:
        turns = list[asyncio.Task[bool]]()
        for _ in range(40):
            admission.__enter__()
        for _ in range(10):
            turns += await asked(admission, 5)
            clock.windows(1, 0.0)
        assert LEAST + 5 < admission.limit <= LEAST * 1.1**12
    for turn in turns:
        turn.cancel()
    clock.windows(8, 0.0)
    before = admission.limit
    clock.windows(10, 0.0)
    assert admission.limit == before


def test_a_process_that_has_little_to_do_forgets_what_it_could_not_do_before() -> None:
    admission = door()
    clock = Clock(admission)
    clock.windows(30, LATE_S * 3)
    assert admission.limit == LEAST
    quiet = Clock(admission, busy=BUSY / 2)
    quiet.windows(3, 0.0)
    assert admission.limit == 50


async def test_whoever_comes_beside_waits_and_is_called_in_order_and_beyond_is_refused() -> None:
    admission = door(most=1, room=2)
    assert await admission.turn()
    with admission:
        turns = await asked(admission, 4)
        assert answers(turns) == [None, None, False, False]
        assert admission.is_full()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert answers(turns)[:2] == [True, None]
    with admission:
        pass
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert answers(turns)[:2] == [True, True]


async def test_a_turn_is_passed_on_by_whoever_does_not_take_it() -> None:
    """One who was called and is gone, or has nothing to run, keeps the others waiting until the next look at most."""
    admission = door(most=1, room=3)
    clock = Clock(admission)
    with admission:
        turns = await asked(admission, 3)
        turns[0].cancel()
        await asyncio.sleep(0)
    turns[1].cancel()  # it has been called
    await asyncio.gather(*turns[:2], return_exceptions=True)
    assert answers(turns[2:]) == [None]
    admission.note(0.0, clock.now, clock.now)
    assert await turns[2]
    assert not admission.is_full()


async def test_whoever_is_no_task_waits_for_a_turn_as_it_is_and_leaves_the_queue_when_it_ends() -> None:
    admission, told = door(most=1, room=3), list[tuple[str, bool]]()
    loop, before = asyncio.get_running_loop(), asyncio.all_tasks()

    async def ask(name: str) -> None:
        told.append((name, await admission.turn()))
        with admission:
            pass

    asking = {name: Eager(ask(name), loop) for name in ("gone", "called and gone", "last", "refused")}
    with admission:
        for eager in asking.values():
            loop.call_soon(eager)
        await asyncio.sleep(0)
        assert told == [("refused", False)]
        asking["gone"].cancel()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() <= before
    asking["called and gone"].cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert told[1:] == []
    admission.note(0.0, admission._decided, 0.0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert told[1:] == [("last", True)]
    assert not admission.is_full()


async def test_whoever_has_waited_for_too_long_is_refused() -> None:
    admission = door(most=1, room=3)
    with admission:
        [turn] = await asked(admission, 1)
        began = admission._waiting[0].since
        admission.note(0.0, began + LONGEST_S * 0.99, 0.0)
        await asyncio.sleep(0)
        assert answers([turn]) == [None]
        admission.note(0.0, began + LONGEST_S * 1.01, 0.0)
        assert not await turn


async def test_as_many_may_wait_as_are_done_in_a_moment_and_never_fewer_than_a_client_has_connections() -> None:
    admission = Admission("/graphql", most=1)
    clock = Clock(admission)
    with admission:
        turns = await asked(admission, ROOM + 1)
        assert answers(turns) == [None] * ROOM + [False]
    per_window = 1000
    for _ in range(per_window):
        with admission:
            pass
    clock.windows(1, 0.0)
    assert admission.room == pytest.approx(per_window * WAIT_S / WINDOW_S, rel=0.3)
    turns += await asked(admission, 1)
    clock.windows(2, 0.0)
    assert admission.room == ROOM
    for turn in turns:
        turn.cancel()
