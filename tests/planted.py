"""Looking for planted secrets in what is logged."""

import contextlib
import dataclasses
import io
import logging
from collections.abc import Iterator

from logs import JsonFormatter


@dataclasses.dataclass(slots=True)
class Logs:
    """What is logged at any level, as production writes it, and as it would be with the texts of exceptions."""

    written: io.StringIO = dataclasses.field(default_factory=io.StringIO)
    told: io.StringIO = dataclasses.field(default_factory=io.StringIO)


@contextlib.contextmanager
def kept_logs() -> Iterator[Logs]:
    """Keep everything that is logged until the context closes."""
    kept, root = Logs(), logging.getLogger()
    handlers = [logging.StreamHandler(kept.written), logging.StreamHandler(kept.told)]
    handlers[0].setFormatter(JsonFormatter())
    level = root.level
    root.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield kept
    finally:
        for handler in handlers:
            root.removeHandler(handler)
        root.setLevel(level)
