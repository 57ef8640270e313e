"""What a request is answered, whichever way it came, and how an answer is written where nothing else could send it."""

import dataclasses
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time

_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}" for status in HTTPStatus}


@dataclasses.dataclass(slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    closes: bool = False
    """Whether the connection ends with it."""
    marks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Further headers: which request it belongs to, and what is left of the budget."""

    def response(self) -> web.Response:
        """Give it to aiohttp, whose application adds the marks of all its answers by itself."""
        response = web.Response(status=self.status, headers=self.headers, body=self.body)
        if self.closes:
            response.force_close()
        return response

    def written(self) -> bytes:
        """Write it as aiohttp does."""
        fields = {**self.headers, "Content-Length": str(len(self.body)), "Date": rfc822_formatted_time()}
        if self.closes:
            fields["Connection"] = "close"
        fields.update(self.marks)
        lines = (_STATUS_LINES[self.status], *map(": ".join, fields.items()), "", "")
        return "\r\n".join(lines).encode() + self.body


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """How an application tells what it turns away: by a status and a sentence."""

    tell: Callable[[int, str], tuple[dict[str, str], bytes]]
    """Gives the headers and the body of the last answer of a connection."""
    broken: Callable[[BaseException], web.Response]
    """Tells of a fault of ours, and logs it."""

    def answer(self, status: int, message: str) -> Answer:
        """Make what is answered where there is no request, or none that can be read; the connection ends with it."""
        headers, body = self.tell(status, message)
        return Answer(status, headers, body, closes=True)
