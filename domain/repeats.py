"""Mutations that may be sent again: the name a client gives one, what was asked and answered, and what it has done.

What a client names is known by digests alone, and what was answered is sealed under a key that only the name opens.
"""

import contextlib
import dataclasses
import datetime as dt
import hashlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEPT: Final = dt.timedelta(hours=24)
"""How long a repeat is known as one."""
RUNS_FOR: Final = dt.timedelta(seconds=15)
"""How long a mutation is taken to be running that has not answered: longer than one may take."""

_DIGEST_BYTES: Final = 32
_NONCE_BYTES: Final = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Repeatable:
    """One named mutation of one person, by keyed digests of its name and of what it asks."""

    user_id: int
    name: bytes
    asked: bytes
    cipher: AESGCM = dataclasses.field(repr=False, compare=False)

    def seal(self, answer: bytes) -> bytes:
        """Seal the answer, for this person, name and request alone."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self.cipher.encrypt(nonce, answer, self._place())

    def open(self, sealed: bytes) -> bytes | None:
        """Open an answer; None where it was changed, or sealed for another."""
        try:
            return self.cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._place())
        except (InvalidTag, ValueError):
            return None

    def _place(self) -> bytes:
        return b"answer to %d " % self.user_id + self.name + self.asked


class RepeatKeys:
    """Makes them, under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of_nobody(cls) -> "RepeatKeys":
        """Make one under a key that is not kept: what it seals is read in this process alone."""
        return cls(os.urandom(_DIGEST_BYTES))

    def of(self, user_id: int, name: str, asked: bytes) -> Repeatable:
        """Give the repeatable form of a person's request under a name of the client's own."""
        named = b"%d %b" % (user_id, name.encode())
        cipher = AESGCM(self._digest(b"seal", named))
        return Repeatable(user_id, self._digest(b"name", named), self._digest(b"asked", asked), cipher)

    def _digest(self, purpose: bytes, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, key=self._key, person=purpose).digest()


class Effects:
    """What of one run is recorded with its effects: the first audited change of each of its root fields.

    Whatever else a field changes follows from that one, and is completed by upkeep where it was interrupted.
    """

    def __init__(self, repeatable: Repeatable, expires_at: dt.datetime) -> None:
        self.repeatable = repeatable
        self.expires_at = expires_at
        self.field = 0
        self._first: tuple[str, int | None] | None = None

    def begin_field(self) -> None:
        """Go on to the next root field; they run in order, so that a repeat numbers them alike."""
        self.field += 1
        self._first = None

    def are(self, action: str, target_id: int | None) -> bool:
        """Tell whether an action is the field's own; a transaction that is tried again asks again."""
        if self._first is None:
            self._first = action, target_id
        return self._first == (action, target_id)


_EFFECTS: ContextVar[Effects | None] = ContextVar("effects", default=None)


def current_effects() -> Effects | None:
    """Give where effects are to be recorded; None where nothing is run that has a name."""
    return _EFFECTS.get()


@contextlib.contextmanager
def recording(effects: Effects | None) -> Iterator[None]:
    """Do some work whose effects are recorded, each in its own transaction."""
    token = _EFFECTS.set(effects)
    try:
        yield
    finally:
        _EFFECTS.reset(token)
