"""Identity of things: 64-bit internal ids and the opaque ids that clients see.

An internal id is 41 bits of milliseconds since 2020, 10 bits of home cell and 12 random bits, so that the home of
a user is read from the id without a look-up and no coordinator hands ids out.
"""

import base64
import binascii
import datetime as dt
import enum
import functools
import secrets
import time
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

EPOCH_MS: Final = 1_577_836_800_000  # 2020-01-01T00:00:00Z
RANDOM_BITS: Final = 12
CELL_BITS: Final = 10
MAX_CELLS: Final = 1 << CELL_BITS
_CELL_MASK: Final = MAX_CELLS - 1
_TAG_BYTES: Final = 8
_REMEMBERED: Final = 20_000
_ENCODED_LENGTH: Final = 22  # one AES block in unpadded base64url
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class NodeType(enum.Enum):
    """The kinds of object that have an opaque id; the value is the tag inside the block."""

    USER = b"kithuser"


def new_id(cell: int, *, at_ms: int | None = None) -> int:
    """Make an id whose home is `cell`; callers retry on the unlikely clash."""
    if not 0 <= cell < MAX_CELLS:
        raise ValueError(f"a cell number lies between 0 and {MAX_CELLS - 1}, not {cell}")
    milliseconds = (time.time_ns() // 1_000_000 if at_ms is None else at_ms) - EPOCH_MS
    return (milliseconds << (CELL_BITS + RANDOM_BITS)) | (cell << RANDOM_BITS) | secrets.randbits(RANDOM_BITS)


def cell_of(internal_id: int) -> int:
    """Read the number of the home cell out of an internal id."""
    return (internal_id >> RANDOM_BITS) & _CELL_MASK


def at_home_in(cell: int, internal_id: int) -> int:
    """Give the same id, but for its home: hardly ever anybody's where that is another."""
    return (internal_id & ~(_CELL_MASK << RANDOM_BITS)) | (cell << RANDOM_BITS)


def made_at(internal_id: int) -> dt.datetime:
    """Read the moment at which an internal id was made, to the millisecond."""
    milliseconds = (internal_id >> (CELL_BITS + RANDOM_BITS)) + EPOCH_MS
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


class OpaqueIds:
    """Turns internal ids into what clients see and back: one AES block over (type, id), base64url.

    Equal ids give equal text, and nothing of order, time or cell shows. What was not made under the same key, or was
    made for another type, decodes to None: to a client that is the same as "not found".
    """

    def __init__(self, key: bytes) -> None:
        # ECB over exactly one block is the bare block cipher; every (type, id) is a distinct block. Neither context
        # is ever finalised, so both serve the whole life of the process.
        cipher = Cipher(AES(key), ECB())  # noqa: S305 - see above
        self._encrypt = cipher.encryptor().update
        self._decrypt = cipher.decryptor().update
        self._encoded = functools.lru_cache(maxsize=_REMEMBERED)(self._encode)
        self._decoded = functools.lru_cache(maxsize=_REMEMBERED)(self._decode)

    def encode(self, kind: NodeType, internal_id: int) -> str:
        """Make the opaque id of an object."""
        return self._encoded(kind._value_, internal_id)

    def _encode(self, tag: bytes, internal_id: int) -> str:
        block = self._encrypt(tag + internal_id.to_bytes(8, "big"))
        return _text_of(block)

    def decode(self, kind: NodeType, text: str) -> int | None:
        """Give the internal id, or None for anything this key did not make for this type."""
        found = self.decode_any(text)
        return found[1] if found is not None and found[0] is kind else None

    def decode_any(self, text: str) -> tuple[NodeType, int] | None:
        """Give type and internal id, or None for anything this key did not make."""
        return self._decoded(text) if len(text) == _ENCODED_LENGTH and text.isascii() else None

    def _decode(self, text: str) -> tuple[NodeType, int] | None:
        try:
            block = base64.b64decode(text + "==", altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if _text_of(block) != text:
            return None  # the last character's spare bits would let one id have sixteen spellings
        plain = self._decrypt(block)
        return _read_block(plain[:_TAG_BYTES], plain[_TAG_BYTES:])


def _text_of(block: bytes) -> str:
    return binascii.b2a_base64(block, newline=False)[:_ENCODED_LENGTH].translate(_URL_SAFE).decode()


def _read_block(tag: bytes, number: bytes) -> tuple[NodeType, int] | None:
    try:
        kind = NodeType(tag)
    except ValueError:
        return None
    internal_id = int.from_bytes(number, "big")
    return (kind, internal_id) if internal_id < 1 << 63 else None
