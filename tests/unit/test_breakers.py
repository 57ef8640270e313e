"""The breaker: what counts, who passes while it is open, and what a probe decides."""

import asyncio

import pytest

from domain.errors import Conflict, DeadlineExceeded
from storage.breakers import Breaker, BreakerOpen

REST_S = 0.02


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("a test", threshold=3, rest=REST_S)


def end(breaker: Breaker, error: BaseException | None = None) -> None:
    """Make a call that ends so; raises BreakerOpen where it may not be made."""
    passing = breaker.passing(ConnectionError)
    passing.__enter__()
    passing.__exit__(type(error) if error else None, error, None)


def passes(breaker: Breaker) -> bool:
    """Make a call that succeeds, and tell whether it could be made."""
    try:
        end(breaker)
    except BreakerOpen:
        return False
    return True


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        end(breaker, ConnectionError())


async def rested(breaker: Breaker) -> None:
    while breaker.is_open:
        await asyncio.sleep(REST_S / 4)


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker("a test", threshold=3, rest=60)
    fail(breaker, 2)
    open_after_two = breaker.is_open
    fail(breaker, 1)
    assert (open_after_two, breaker.is_open, passes(breaker)) == (False, True, False)


def test_a_success_between_failures_keeps_it_closed(breaker: Breaker) -> None:
    for _ in range(5):
        fail(breaker, 2)
        end(breaker)
    assert not breaker.is_open


@pytest.mark.parametrize("error", [Conflict(), DeadlineExceeded(), asyncio.CancelledError()], ids=repr)
def test_what_a_request_brings_about_itself_never_opens_it(breaker: Breaker, error: BaseException) -> None:
    for _ in range(10):
        end(breaker, error)
    assert not breaker.is_open


async def test_after_its_rest_one_probe_passes_and_nobody_beside_it(breaker: Breaker) -> None:
    fail(breaker, 3)
    await rested(breaker)
    with breaker.passing(ConnectionError):
        assert not passes(breaker)
    fail(breaker, 2)
    assert passes(breaker)


async def test_a_probe_that_fails_makes_it_rest_again(breaker: Breaker) -> None:
    fail(breaker, 3)
    await rested(breaker)
    fail(breaker, 1)
    assert breaker.is_open


@pytest.mark.parametrize("error", [DeadlineExceeded(), asyncio.CancelledError()], ids=repr)
async def test_a_probe_that_is_given_up_makes_room_for_the_next(breaker: Breaker, error: BaseException) -> None:
    fail(breaker, 3)
    await rested(breaker)
    end(breaker, error)
    end(breaker)
    assert not breaker.is_open


async def test_a_call_that_began_before_it_opened_does_not_close_it(breaker: Breaker) -> None:
    with breaker.passing(ConnectionError):
        fail(breaker, 3)
    assert breaker.is_open


async def test_a_call_that_began_before_it_opened_does_not_take_the_place_of_the_probe(breaker: Breaker) -> None:
    old = breaker.passing(ConnectionError)
    old.__enter__()
    fail(breaker, 3)
    await rested(breaker)
    with breaker.passing(ConnectionError):
        old.__exit__(ConnectionError, ConnectionError(), None)
        assert not passes(breaker)
    assert passes(breaker)
