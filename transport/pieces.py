"""Requests that come as one piece, which most are: a head, and as much behind it as the head says."""

import hashlib
import re
from typing import Final

import msgspec

from domain import traces

_END: Final = b"\r\n\r\n"
_LENGTH: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_TRACE: Final = (b"\r\ntraceparent: ", b"\r\nTraceparent: ")
_AUTHORIZATION: Final = (b"\r\nAuthorization: ", b"\r\nauthorization: ")
_MAX_DIGITS: Final = 6
_PLAIN_TOKEN: Final = re.compile(rb"[Bb]earer [A-Za-z0-9._~+/=-]{1,4096}")
"""An `Authorization` that no parser reads in another way, and that none finds too long."""


class Plain(msgspec.Struct, frozen=True):
    """A request, taken apart without being judged."""

    digest: bytes
    """Of the head but for what differs each time, and of the network that it came from."""
    length: bytes
    body_at: int
    parents: tuple[str, ...]
    """The `traceparent`, if there is one."""
    authorizations: tuple[str, ...]
    """The `Authorization`, if there is one."""


def read_plain(data: bytes, network: str) -> Plain | None:
    """Take a request from a network apart, if it is whole and nothing else came with it."""
    end = data.find(_END)
    body_at = end + len(_END)
    length, head = _cut(data[: max(end, 0)], _LENGTH)
    if length is None or not length.isdigit() or len(length) > _MAX_DIGITS or len(data) - body_at != int(length):
        return None
    parent, head = _cut(head, _TRACE)
    if parent is not None and not traces.is_parent(parent):
        return None
    authorization, head = _cut(head, _AUTHORIZATION)
    if authorization is not None and not _PLAIN_TOKEN.fullmatch(authorization):
        return None
    return Plain(
        hashlib.sha256(network.encode() + b"\n" + head).digest(),
        length,
        body_at,
        (parent.decode(),) if parent is not None else (),
        (authorization.decode(),) if authorization is not None else (),
    )


def _cut(head: bytes, names: tuple[bytes, ...]) -> tuple[bytes | None, bytes]:
    """Take the first line of a header out of a head: gives its value, and what is left."""
    for name in names:
        at = head.find(name)
        if at >= 0:
            end = head.find(b"\r\n", at + len(name))
            end = len(head) if end < 0 else end
            return head[at + len(name) : end], head[:at] + head[end:]
    return None, head
