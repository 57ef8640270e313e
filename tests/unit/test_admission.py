"""The door: how many operations are let in follows how late the loop is."""

import contextlib
from typing import Final

from transport.admission import BUSY, LATE_S, LEAST, WINDOW_S, Admission

REQUEST: Final = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class Clock:
    """Windows of a loop that is as late as is said, in a process that computes a share of the time."""

    def __init__(self, admission: Admission, busy: float = 1.0) -> None:
        self.admission = admission
        self.now = admission._decided
        self.busy = busy
        admission._computed = self.now * busy

    def window(self, lag: float) -> None:
        """Pass one window, looked at once."""
        self.now += WINDOW_S * 1.01
        self.admission.note(lag, self.now, self.now * self.busy)

    def windows(self, number: int, lag: float) -> None:
        for _ in range(number):
            for _ in range(10):
                self.now += WINDOW_S / 9
                self.admission.note(lag, self.now, self.now * self.busy)


def test_nobody_is_refused_while_the_loop_is_in_time() -> None:
    admission = Admission("/graphql", most=50)
    Clock(admission).windows(20, 0.0)
    assert admission.limit == 50
    with admission:
        assert not admission.is_full()


def test_a_late_loop_is_given_less_and_never_nothing() -> None:
    admission = Admission("/graphql", most=50)
    Clock(admission).windows(30, LATE_S * 3)
    assert admission.limit == LEAST
    with contextlib.ExitStack() as stack:
        for _ in range(LEAST):
            assert not admission.is_full()
            stack.enter_context(admission)
        assert admission.is_full()


def test_a_loop_that_others_keep_waiting_refuses_nobody_for_it() -> None:
    admission = Admission("/graphql", most=50)
    Clock(admission, busy=BUSY / 2).windows(30, LATE_S * 3)
    assert admission.limit == 50


def test_one_late_moment_in_a_window_changes_nothing() -> None:
    admission = Admission("/graphql", most=50)
    clock = Clock(admission)
    for _ in range(10):
        clock.now += WINDOW_S / 20
        admission.note(0.0, clock.now, clock.now)
    clock.now += WINDOW_S
    admission.note(1.0, clock.now, clock.now)
    assert admission.limit == 50


def test_one_late_window_refuses_nobody_unless_somebody_is_refused_already() -> None:
    admission = Admission("/graphql", most=50)
    clock = Clock(admission)
    with contextlib.ExitStack() as stack:
        for _ in range(45):
            stack.enter_context(admission)
        for lag in [LATE_S * 3, 0.0] * 5:
            clock.window(lag)
        assert admission.limit == 50
        clock.window(LATE_S * 3)
        clock.window(LATE_S * 3)
        assert admission.limit == 36
        clock.window(0.0)
        clock.window(LATE_S * 3)
        assert admission.limit == 28


def test_a_loop_that_is_in_time_again_is_given_more_as_long_as_somebody_is_refused() -> None:
    admission = Admission("/graphql", most=50)
    clock = Clock(admission)
    clock.windows(30, LATE_S * 3)
    for _ in range(60):
        admission.__enter__()
    for _ in range(10):
        assert admission.is_full()
        clock.windows(1, 0.0)
    assert admission.limit == LEAST + 10
    for _ in range(60):
        admission.__exit__(None, None, None)
    before = admission.limit
    clock.windows(10, 0.0)
    assert admission.limit <= before + 1


def test_a_process_that_has_little_to_do_forgets_what_it_could_not_do_before() -> None:
    admission = Admission("/graphql", most=50)
    clock = Clock(admission)
    clock.windows(30, LATE_S * 3)
    assert admission.limit == LEAST
    quiet = Clock(admission, busy=BUSY / 2)
    quiet.windows(3, 0.0)
    assert admission.limit == 50


def test_no_more_are_taken_in_one_turn_of_the_loop_than_may_begin_in_it() -> None:
    admission = Admission("/graphql", most=3)
    taken = 0
    for _ in range(10):
        if admission.early(REQUEST) is None:
            admission.expect()
            taken += 1
    assert taken == 3
    for _ in range(taken):
        admission.meet()
        assert not admission.is_full()
        admission.__enter__()
    assert admission.is_full()
