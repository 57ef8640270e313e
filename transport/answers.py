"""What a request is answered, whichever way it came, and how an answer is written where nothing else could send it."""

import dataclasses
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time

_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_CLOSES: Final = "Connection: close\r\n"


class Answer(msgspec.Struct):
    """A whole answer."""

    status: int
    fields: str
    """Lines of its head, as `lines_of` writes them."""
    body: bytes
    closes: bool = False
    """Whether the connection ends with it."""
    marks: str = ""
    """Further lines of the head: which request it belongs to, and what is left of the budget."""

    def response(self) -> web.Response:
        """Give it to aiohttp, whose application adds the marks of all its answers by itself."""
        response = web.Response(status=self.status, headers=fields_of(self.fields), body=self.body)
        if self.closes:
            response.force_close()
        return response

    def written(self) -> bytes:
        """Write it as aiohttp does."""
        told = f"Content-Length: {len(self.body)}\r\nDate: {rfc822_formatted_time()}\r\n"
        closes = _CLOSES if self.closes else ""
        return f"{_STATUS_LINES[self.status]}{self.fields}{told}{closes}{self.marks}\r\n".encode() + self.body


def lines_of(fields: Mapping[str, str]) -> str:
    """Write fields as lines of a head."""
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())


def fields_of(lines: str) -> dict[str, str]:
    """Give the fields that lines of a head hold, for an application that writes heads by itself."""
    return dict(line.split(": ", 1) for line in lines.splitlines())


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
        return Answer(status, lines_of(headers), body, closes=True)
