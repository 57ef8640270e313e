"""A Valkey of a test's own, on a port: it may be frozen, killed and started again."""

import os
import signal
import subprocess
from pathlib import Path

from embedded import wheels
from tests.acceptance.main_job import free_port


class Server:
    """A server process; `options` are those of the command line."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port, self.bus = free_port(), free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self.options = options
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(str(wheels.valkey_server()), "--port", str(self.port), "--dir", str(self.folder)),
                *("--bind", "127.0.0.1", "--save", "", "--cluster-port", str(self.bus), *self.options),
            ],
            stdout=subprocess.DEVNULL,
        )

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)
        if number is signal.SIGKILL:
            self.process.wait()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
