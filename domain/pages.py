"""Keyset pages: what was asked for, where a page stands, and cursors that nobody can forge."""

import base64
import binascii
import dataclasses
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from domain.errors import InvalidInput

MAX_PAGE: Final = 100
EXACT_UP_TO: Final = 1000
_ROUNDED_DIGITS: Final = 2
_BLOCK_BYTES: Final = 16
_TAG_BYTES: Final = 8

T = TypeVar("T")


class Position(NamedTuple):
    """A place in a list: its two sorting keys, each below 2**63 (time in microseconds and id, or sequence and 0)."""

    major: int
    minor: int


@dataclasses.dataclass(frozen=True, slots=True)
class PageRequest:
    """The page a client asks for: `size` rows after or before a cursor, read forward or backward."""

    size: int
    cursor: str | None
    backward: bool


@dataclasses.dataclass(frozen=True, slots=True)
class PageInfo:
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
    """Makes opaque, authenticated cursors: a position encrypted and bound to a scope (viewer, field, arguments)."""

    def __init__(self, key: bytes) -> None:
        # One block per position, whitened by its scope: a block cipher used as the permutation it is.
        cipher = Cipher(AES(hashlib.blake2b(key, digest_size=32, person=b"cursor-aes").digest()), ECB())  # noqa: S305
        self._encrypt = cipher.encryptor().update
        self._decrypt = cipher.decryptor().update
        self._mac_key = hashlib.blake2b(key, digest_size=32, person=b"cursor-mac").digest()

    def encode(self, scope: str, positions: Sequence[Position]) -> list[str]:
        """Make the cursors of a page, in one call of the cipher."""
        white = self._whitening(scope)
        plain = b"".join(_whiten(_pack(position), white) for position in positions)
        blocks = self._encrypt(plain)
        return [self._text(scope, blocks[at : at + _BLOCK_BYTES]) for at in range(0, len(blocks), _BLOCK_BYTES)]

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
        if len(raw) != _BLOCK_BYTES + _TAG_BYTES or not hmac.compare_digest(tag, self._tag(scope, block)):
            raise InvalidInput("This cursor does not belong to this list; start again without it.")
        plain = _whiten(self._decrypt(block), self._whitening(scope))
        return Position(int.from_bytes(plain[:8], "big"), int.from_bytes(plain[8:], "big"))

    def _text(self, scope: str, block: bytes) -> str:
        return base64.urlsafe_b64encode(block + self._tag(scope, block)).decode()

    def _tag(self, scope: str, block: bytes) -> bytes:
        return hashlib.blake2b(block + scope.encode(), key=self._mac_key, digest_size=_TAG_BYTES).digest()

    def _whitening(self, scope: str) -> int:
        digest = hashlib.blake2b(scope.encode(), key=self._mac_key, digest_size=_BLOCK_BYTES, person=b"whiten").digest()
        return int.from_bytes(digest, "big")


def _pack(position: Position) -> bytes:
    return position.major.to_bytes(8, "big") + position.minor.to_bytes(8, "big")


def _whiten(block: bytes, white: int) -> bytes:
    return (int.from_bytes(block, "big") ^ white).to_bytes(_BLOCK_BYTES, "big")
