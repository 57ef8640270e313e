"""What several of these tests have of a Valkey: one of their own, and more patience with one than the service has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import redis_client
from tests.valkey import Server

PATIENCE_S = 30.0


@pytest.fixture
def server(short_folder: Path) -> Iterator[Server]:
    """Run a Valkey that may be frozen and killed."""
    started = Server(short_folder)
    yield started
    started.stop()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for answers: on a busy machine a Redis that is not waited for is one that is away now and then."""
    be_patient(monkeypatch, PATIENCE_S)


def be_patient(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Wait for the answers to calls for so long, and for connections as long as on a busy machine."""
    monkeypatch.setattr(redis_client, "CALL_TIMEOUT_S", seconds)
    monkeypatch.setattr(redis_client, "TURN_TIMEOUT_S", seconds)
    for name in ("socket_timeout", "socket_connect_timeout"):
        monkeypatch.setitem(redis_client._SOCKETS, name, PATIENCE_S)
