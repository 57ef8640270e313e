"""Is a background process alive, and can it work? Told beside its metrics, by threads that its work cannot stop."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from domain.probes import Ping, ask_all

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

TIMEOUT_S: Final = 2.0
T = TypeVar("T")
_STATUS: Final = {200: "200 OK", 503: "503 Service Unavailable"}


class Health:
    """Answers `/healthz`, `/readyz` and, at any other path, with the metrics; within a bound, whatever hangs."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._metrics = make_wsgi_app()
        self._needed: Mapping[str, Ping] | None = None
        self._helpful: Mapping[str, Ping] = {}

    def watch(self, needed: Mapping[str, Ping], helpful: Mapping[str, Ping]) -> None:
        """Ask these from now on whether the process can work; before, it cannot."""
        self._needed, self._helpful = needed, helpful

    @contextlib.contextmanager
    def served(self, host: str, port: int) -> Iterator[int]:
        """Answer on a port until the context closes; gives the port, which 0 has the system choose."""
        with make_server(host, port, self.answer, _server_of(host), _Silent) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
            thread.start()
            try:
                yield server.server_port
            finally:
                server.shutdown()
                thread.join()

    def answer(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        match environ["PATH_INFO"]:
            case "/healthz":
                status = "ok" if self._ask_loop(_turn()) else "unavailable"
                return _respond(start_response, {"status": status})
            case "/readyz":
                return _respond(start_response, self._ask_loop(self._look()) or {"status": "unavailable"})
        metrics: Iterable[bytes] = self._metrics(environ, start_response)
        return metrics

    def _ask_loop(self, work: Coroutine[None, None, T]) -> T | None:
        """Have the loop do something; None where it does not come to it."""
        asked = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return asked.result(2 * TIMEOUT_S)
        except (TimeoutError, CancelledError):
            asked.cancel()
            return None

    async def _look(self) -> dict[str, Any]:
        checks = await ask_all({**(self._needed or {}), **self._helpful}, within=TIMEOUT_S)
        away = {name for name, state in checks.items() if state != "ok"}
        if self._needed is None or away & self._needed.keys():
            return {"status": "unavailable", "checks": checks}
        return {"status": "degraded" if away else "ok", "checks": checks}


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Write nothing: probes come every few seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server_of(host: str) -> type[_Server]:
    return _Server6 if ":" in host else _Server


async def _turn() -> bool:
    return True


def _respond(start_response: "StartResponse", said: Mapping[str, Any]) -> list[bytes]:
    status = _STATUS[503 if said["status"] == "unavailable" else 200]
    start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    return [json.dumps(said).encode()]
