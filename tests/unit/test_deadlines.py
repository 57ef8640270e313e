"""Deadlines: the nearer one holds, joint work has the last of its callers', and nothing waits beyond."""

import asyncio
import socket
import threading
import time

import pytest

from domain import deadlines
from domain.errors import DeadlineExceeded
from storage.timeouts import AnswerWithin


def test_without_a_deadline_everybody_waits_their_own_time() -> None:
    assert deadlines.current() is None
    assert deadlines.left(5.0) == 5.0


def test_an_inner_deadline_shortens_and_never_prolongs() -> None:
    with deadlines.within(10):
        outer = deadlines.current()
        with deadlines.within(60):
            assert deadlines.current() == outer
        with deadlines.within(1):
            assert deadlines.left(5.0) <= 1.0
        assert deadlines.current() == outer
    assert deadlines.current() is None


def test_when_it_has_passed_nothing_is_waited_for() -> None:
    with deadlines.within(0), pytest.raises(DeadlineExceeded):
        deadlines.left(5.0)


def test_joint_work_has_the_last_deadline_of_its_callers() -> None:
    assert deadlines.latest([3.0, 7.0, 5.0]) == 7.0
    assert deadlines.latest([3.0, None]) is None
    with deadlines.within(0), deadlines.under(None):
        assert deadlines.left(5.0) == 5.0


async def test_tasks_inherit_it() -> None:
    with deadlines.within(10):
        task = asyncio.create_task(asyncio.to_thread(deadlines.current))
    assert await task is not None


async def test_an_answer_that_lies_unread_while_the_loop_is_busy_is_no_timeout() -> None:
    reader, writer = await _answering_peer()
    async with AnswerWithin(0.05):
        writer.write(b"?")
        asyncio.get_running_loop().call_soon(time.sleep, 0.1)
        assert await reader.read(1) == b"!"
    writer.close()
    await writer.wait_closed()


async def test_an_answer_that_does_not_come_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with AnswerWithin(0.01):
            await asyncio.Event().wait()


async def _answering_peer() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a program that answers each byte, from a thread of its own."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        with theirs:
            while theirs.recv(1):
                theirs.sendall(b"!")

    threading.Thread(target=answer, daemon=True).start()
    return await asyncio.open_connection(sock=ours)
