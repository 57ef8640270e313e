"""Changes that Redis was not told of: all are counted, and a spell of them is two lines of the log."""

import logging

import pytest

from storage.metrics import UNTOLD
from storage.untold import QUIET_S, Untold


def counted() -> float:
    return float(UNTOLD._value.get())


def test_a_spell_is_logged_when_it_begins_and_with_its_number_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now, before = [0.0], counted()
    untold = Untold(clock=lambda: now[0])
    untold.told()
    assert not caplog.messages
    for _ in range(300):
        untold.another()
        now[0] += 0.01
        untold.told()  # one that got through says nothing yet
    assert len(caplog.messages) == 1
    now[0] += QUIET_S
    untold.told()
    untold.told()
    assert len(caplog.messages) == 2
    assert " 300 " in caplog.messages[1]
    assert counted() == before + 300


def test_the_next_spell_is_told_of_anew(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    untold = Untold(clock=lambda: now[0])
    caplog.set_level(logging.INFO)
    for _ in range(2):
        untold.another()
        now[0] += QUIET_S
        untold.told()
    assert [" 1 " in message for message in caplog.messages] == [False, True, False, True]
