"""Keyset pages: what was asked for, where a page stands, and cursors that nobody can forge."""

import array
import base64
import binascii
import dataclasses
import hashlib
import hmac
import struct
from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from domain.errors import InvalidInput

MAX_PAGE: Final = 100
EXACT_UP_TO: Final = 1000
_ROUNDED_DIGITS: Final = 2
_BLOCK_BYTES: Final = 16
_TAG_BYTES: Final = 8
_PAIR: Final = struct.Struct(">2Q")
_CURSOR: Final = f"{(_BLOCK_BYTES + _TAG_BYTES) // 3 * 4}s"

T = TypeVar("T")


class Position(NamedTuple):
    """A place in a list: its two sorting keys, each below 2**63 (time in microseconds and id, or sequence and 0)."""

    major: int
    minor: int

    def packed(self) -> bytes:
        """Give it in sixteen bytes, which have the same order."""
        return _PAIR.pack(*self)

    @classmethod
    def of(cls, packed: bytes) -> "Position":
        """Read what `packed` gave."""
        return cls._make(_PAIR.unpack(packed))


class PageRequest(msgspec.Struct, frozen=True):
    """The page a client asks for: `size` rows after or before a cursor, read forward or backward."""

    size: int
    cursor: str | None
    backward: bool


class PageInfo(msgspec.Struct, frozen=True):
    """Relay's PageInfo."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some edges of a list, in the list's order."""

    edges: Sequence[T]
    page_info: PageInfo


def page_request(first: int | None, after: str | None, last: int | None, before: str | None) -> PageRequest:
    """Check Relay's four arguments: exactly one of `first` and `last`, 1 to 100.

    Raises:
        InvalidInput: the message names the argument to mend.
    """
    if (first is None) == (last is None):
        raise InvalidInput("Give exactly one of `first` and `last`.")
    if (first is None and after is not None) or (last is None and before is not None):
        raise InvalidInput("`after` goes with `first`, and `before` goes with `last`.")
    name, size = ("first", first) if first is not None else ("last", last)
    if size is None or not 1 <= size <= MAX_PAGE:
        raise InvalidInput(f"`{name}` lies between 1 and {MAX_PAGE}.")
    return PageRequest(size=size, cursor=after if first is not None else before, backward=first is None)


def page_info_of(cursors: Sequence[str], request: PageRequest, *, far: str | None) -> PageInfo:
    """Fill in Relay's PageInfo; `far` is where reading stopped if there is more.

    What lies behind the cursor that was given is known to be there.
    """
    start, end = (cursors[0], cursors[-1]) if cursors else (None, None)
    came_from, more = request.cursor is not None, far is not None
    if request.backward:
        return PageInfo(has_next_page=came_from, has_previous_page=more, start_cursor=far or start, end_cursor=end)
    return PageInfo(has_next_page=more, has_previous_page=came_from, start_cursor=start, end_cursor=far or end)


def round_count(exact: int) -> int:
    """Give a count as it is shown: exact up to 1,000, above that rounded down to two digits."""
    if exact <= EXACT_UP_TO:
        return exact
    step = 10 ** (len(str(exact)) - _ROUNDED_DIGITS)
    return int(exact // step * step)


class Cursors:
    """Makes opaque, authenticated cursors: a position encrypted and bound to a scope (viewer, field, arguments).

    A cursor is one block of AES over the position and half of another over that block. Both are whitened by what the
    scope hashes to under a key, which makes of each cipher one that only this scope has (Rogaway, "Efficient
    Instantiations of Tweakable Blockciphers", 2004). So a page costs two calls of a cipher and one hash.
    """

    def __init__(self, key: bytes) -> None:
        self._sealing, self._opening = _cipher(key, b"cursor-aes")
        self._tagging, _ = _cipher(key, b"cursor-tag")
        self._whitening_key = hashlib.blake2b(key, digest_size=32, person=b"cursor-white").digest()

    def encode(self, scope: str, positions: Sequence[Position]) -> list[str]:
        """Make the cursors of a page."""
        return self.encode_packed(scope, b"".join(position.packed() for position in positions))

    def encode_packed(self, scope: str, positions: bytes) -> list[str]:
        """Make the cursors of a page whose positions are packed, one behind the other."""
        if not positions:
            return []
        white, tag_white = self._whitenings(scope)
        blocks = self._sealing(_whiten(positions, white))
        tags = self._tagging(_whiten(blocks, tag_white))
        text = base64.urlsafe_b64encode(_interleaved(blocks, tags))
        return list(map(bytes.decode, struct.unpack(_CURSOR * (len(positions) // _BLOCK_BYTES), text)))

    def decode(self, scope: str, text: str) -> Position:
        """Read a cursor that `encode` made for the same scope.

        Raises:
            InvalidInput: it was forged, cut, or made for another viewer, list or order.
        """
        try:
            raw = base64.b64decode(text, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        block, tag = raw[:_BLOCK_BYTES], raw[_BLOCK_BYTES:]
        white, tag_white = self._whitenings(scope)
        if len(raw) != _BLOCK_BYTES + _TAG_BYTES or not hmac.compare_digest(tag, self._tag(block, tag_white)):
            raise InvalidInput("This cursor does not belong to this list; start again without it.")
        return Position(*_PAIR.unpack(_whiten(self._opening(block), white)))

    def _tag(self, block: bytes, white: bytes) -> bytes:
        return self._tagging(_whiten(block, white))[:_TAG_BYTES]

    def _whitenings(self, scope: str) -> tuple[bytes, bytes]:
        both = hashlib.blake2b(scope.encode(), key=self._whitening_key, digest_size=2 * _BLOCK_BYTES).digest()
        return both[:_BLOCK_BYTES], both[_BLOCK_BYTES:]


def _cipher(key: bytes, purpose: bytes) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Give the bare block cipher of a purpose, both ways; never finalised, so that it serves as long as the process."""
    cipher = Cipher(AES(hashlib.blake2b(key, digest_size=32, person=purpose).digest()), ECB())  # noqa: S305 - see Cursors
    return cipher.encryptor().update, cipher.decryptor().update


def _interleaved(blocks: bytes, tags: bytes) -> bytes:
    """Put behind each block the first half of its tag: all in words of eight bytes, whose order nothing reads."""
    words, tag_words = array.array("Q", blocks), array.array("Q", tags)
    both = array.array("Q", bytes(len(blocks) // _BLOCK_BYTES * (_BLOCK_BYTES + _TAG_BYTES)))
    both[0::3], both[1::3], both[2::3] = words[0::2], words[1::2], tag_words[0::2]
    return both.tobytes()


def _whiten(blocks: bytes, white: bytes) -> bytes:
    """Add the same block to each."""
    length = len(blocks)
    whole = int.from_bytes(white * (length // _BLOCK_BYTES), "big")
    return (int.from_bytes(blocks, "big") ^ whole).to_bytes(length, "big")
