"""How long a request may take: the server's own limit, which a client may shorten, and how the answer shows its end."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from graphql import OperationType

from execution.engine import Response
from transport.bodies import BadRequest

HEADER: Final = "Request-Timeout"
"""Seconds, whole or with decimals, that the client is going to wait: the work for it ends then."""

_SECONDS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_STATUS: Final = {"OVERLOADED": 503, "DEADLINE_EXCEEDED": 504, "RATE_LIMITED": 429}


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a query and a mutation may take at most."""

    query: float = 5.0
    mutation: float = 10.0

    def of(self, operation: OperationType, asked: str | None = None) -> float:
        """Give the seconds for an operation, with the value of the client's header if it sent one.

        Raises:
            BadRequest: the header is not a positive number of seconds.
        """
        most = self.mutation if operation is OperationType.MUTATION else self.query
        return most if asked is None else min(most, _seconds(asked))


def wished(values: Sequence[str]) -> str | None:
    """Give what the headers `Request-Timeout` of a request say, if there is one.

    Raises:
        BadRequest: there are several.
    """
    if len(values) > 1:
        raise BadRequest(f"Give the header {HEADER} once.")
    return values[0] if values else None


def _seconds(text: str) -> float:
    seconds = float(text) if _SECONDS.fullmatch(text) else 0.0
    if seconds <= 0:
        raise BadRequest(f"The header {HEADER} takes a number of seconds, such as 2 or 0.5.")
    return seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Undone:
    """An operation of which nothing could be done, because the service was busy or the time was over."""

    status: int
    headers: Mapping[str, str]
    response: Response


def undone(response: Response) -> Undone | None:
    """Tell whether nothing of an operation could be answered for want of capacity or time; then it has no `data`.

    A partial answer is an answer.
    """
    errors = response.get("errors", [])
    codes = {error["extensions"].get("code") for error in errors}
    if not codes or not codes <= _STATUS.keys() or any(value is not None for value in _values(response)):
        return None
    status = max(_STATUS[code] for code in codes) if len(codes) == 1 else _STATUS["OVERLOADED"]
    waits = [error["extensions"]["retryAfter"] for error in errors if "retryAfter" in error["extensions"]]
    headers = {"Retry-After": str(math.ceil(max(waits)))} if waits else {}
    return Undone(status, headers, {"errors": errors})


def _values(response: Response) -> list[Any]:
    data = response.get("data")
    return list(data.values()) if data is not None else []
