"""What a WebSocket asks of a client's frames that aiohttp does not: that they are masked (RFC 6455, section 5.1)."""

from typing import Final

from aiohttp.http_websocket import WebSocketReader

_MASKED: Final = 0x80
_TWO_BYTES: Final = 126
_REFUSED: Final = b"\xf0\x80"
"""A frame of reserved bits, which every reader refuses with 1002."""


class MaskedFrames:
    """Reads along with aiohttp's reader, and closes with 1002 behind the last frame before one that is not masked.

    Without a mask a client could be made to write bytes that something on the way takes for requests.
    """

    __slots__ = ("_head", "_left", "_reader", "_refused")

    def __init__(self, reader: WebSocketReader) -> None:
        self._reader = reader
        self._head = b""
        self._left = 0
        self._refused = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass on what has come, except the head of a frame until all of it is there."""
        if self._refused:
            return self._reader.feed_data(data)
        data = self._head + data
        end, self._refused = _look(data, self._left)
        if self._refused:
            return self._reader.feed_data(data[:end] + _REFUSED)
        self._head, self._left = data[end:], max(end - len(data), 0)
        return self._reader.feed_data(data[:end])

    def feed_eof(self) -> None:
        """Pass on that nothing more comes."""
        self._reader.feed_eof()


def _look(data: bytes, at: int) -> tuple[int, bool]:
    """Give where the frames end whose heads have come, maybe behind the data, and whether one follows without a mask.

    The loop is tight because frames can be short.
    """
    size = len(data)
    while at + 1 < size:
        length = data[at + 1] - _MASKED
        if length < 0:
            return at, True
        if length < _TWO_BYTES:
            at += 6 + length
            continue
        head = at + (4 if length == _TWO_BYTES else 10)
        if head > size:
            break
        at = head + 4 + int.from_bytes(data[at + 2 : head])
    return at, False
