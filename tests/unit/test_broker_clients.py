"""Clients of the broker: opened by what its address says, and borne with for a while only."""

import ast
import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from unittest import mock

import pytest

from events import clients, consumer
from events.clients import ClientFailed, ask
from events.consumer import Consumer
from events.effects import Subscription

ROOT: Final = Path(__file__).resolve().parents[2]


def made_in(tree: ast.AST) -> Iterator[ast.Call]:
    """Find where a client is made."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("AIOKafka"):
            yield node


def is_by_address(call: ast.Call) -> bool:
    spread = [keyword.value for keyword in call.keywords if keyword.arg is None]
    return any(isinstance(value, ast.Call) and ast.unparse(value.func) == "client_options" for value in spread)


def test_every_client_of_the_broker_is_opened_by_what_its_address_says() -> None:
    sources = sorted((ROOT / "events").glob("*.py"))
    found = [(source.name, call) for source in sources for call in made_in(ast.parse(source.read_text()))]
    assert len(found) >= 4
    assert [name for name, call in found if not is_by_address(call)] == []


async def cancel_itself(*_arguments: object, **_options: object) -> None:
    """Do as the library does where a request fails while a task of its own ends."""
    raise asyncio.CancelledError


async def test_a_client_that_hangs_or_cancels_by_itself_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClientFailed):
        await ask(cancel_itself())
    monkeypatch.setattr(clients, "PATIENCE_S", 0.01)
    with pytest.raises(TimeoutError):
        await ask(asyncio.Event().wait())


async def test_whoever_asks_a_client_can_be_cancelled() -> None:
    asking = asyncio.ensure_future(ask(asyncio.Event().wait()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_consumer_whose_client_cancels_by_itself_goes_on_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, works = 0, asyncio.Event()

    @contextlib.asynccontextmanager
    async def open_member(*_arguments: object, **_options: object) -> AsyncIterator[mock.Mock]:
        nonlocal opened
        opened += 1
        yield mock.Mock(assignment=set)

    async def take(*_arguments: object, **_options: object) -> None:
        if opened == 1:
            await cancel_itself()
        works.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(consumer, "wait_for_topics", mock.AsyncMock())
    monkeypatch.setattr(consumer, "open_member", open_member)
    monkeypatch.setattr(consumer, "take", take)
    running = asyncio.ensure_future(Consumer("", Subscription("group", (), mock.AsyncMock()), mock.Mock()).run())
    looking = asyncio.ensure_future(works.wait())
    done, _ = await asyncio.wait({running, looking}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert done == {looking}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
