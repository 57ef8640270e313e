"""What is read of Kith's facts, after docs/asyncapi.yaml: the few fields that a search needs."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Final

TOPICS: Final = ("users.v1", "social.v1")
VERSION: Final = 1


class NotAFact(Exception):
    """A record is none of Kith's facts, and never will be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """One fact; `payload` is as the document says for its type."""

    id: str
    type: str
    payload: dict[str, Any]

    def text(self, name: str) -> str:
        """Give a field that is a text, never an empty one; raises NotAFact."""
        value = self.payload.get(name)
        if not isinstance(value, str) or not value:
            raise NotAFact(f"{name} is no text")
        return value

    def number(self, name: str) -> int:
        """Give a field that is a whole number, small enough for the index; raises NotAFact."""
        value = self.payload.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
            raise NotAFact(f"{name} is no number")
        return value


def read_fact(headers: Sequence[tuple[str, bytes]], value: bytes | None) -> Fact | None:
    """Read a record; None for a version of payload that comes from later than this code.

    Raises:
        NotAFact: it cannot be read, now or ever.
    """
    attributes = dict(headers)
    try:
        payload = json.loads(value or b"")
        fact = Fact(attributes["ce_id"].decode(), attributes["ce_type"].decode(), dict(payload))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NotAFact(type(error).__name__) from error
    return fact if fact.number("version") <= VERSION else None
