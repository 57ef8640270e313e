"""Whether the broker can be reached from here: for how long it has owed this relay an answer."""

import contextlib
import time
from collections.abc import Iterator


class Reach:
    """Notes what the broker is asked and when it answers; what is waited for elsewhere counts for nothing."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._open = 0

    @property
    def silent_s(self) -> float:
        """Give for how long nothing that was asked has been answered, in seconds; 0 where nothing is owed."""
        return time.monotonic() - self._since if self._since is not None else 0.0

    def ask(self) -> None:
        """Note that something is asked; what failed before is owed still."""
        self._since = self._since if self._since is not None else time.monotonic()

    def heard(self) -> None:
        """Note a sign of life in the middle of an answer."""
        self._since = time.monotonic() if self._since is not None else None

    def answered(self) -> None:
        """Note that nothing is owed any more."""
        self._since = None

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Ask something; where that fails, it stays owed."""
        self.ask()
        self._open += 1
        try:
            yield
            # Something may be asked in the middle of something else, which is owed still.
            self._since = time.monotonic() if self._open > 1 else None
        finally:
            self._open -= 1
