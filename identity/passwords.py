"""Passwords: what may be one, and a hash that takes its time, in threads that never hold up anything else.

Length and a list of what everybody tries decide, not classes of characters (NIST SP 800-63B-4, 3.1.1). A password is
NFKC before anything is done with it, so that it is the same from every keyboard; nothing of it is ever cut off.
"""

import asyncio
import base64
import dataclasses
import enum
import functools
import itertools
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from identity.metrics import PASSWORD_HASHES, PASSWORDS_REFUSED

T = TypeVar("T")

LEAST_CHARACTERS: Final = 8
MOST_BYTES: Final = 1024
SERVICE_NAME: Final = "kith"
_FAR_TOO_LONG: Final = 4 * MOST_BYTES
_SEPARATE: Final = re.compile(r"[\W\d_]+")
_LEAST_OWN_WORD: Final = 3
_NICENESS: Final = 10


class PasswordProblem(enum.Enum):
    """Why something is no password; the value is what its owner is told."""

    SHORT = f"Use at least {LEAST_CHARACTERS} characters."
    LONG = f"Use at most {MOST_BYTES:,} bytes, about as many letters."
    COMMON = "This is one of the passwords that are tried first. Use one that nobody else would think of."
    PERSONAL = "This is made of your own name or address, or of ours. Use one that nobody would guess from them."


class TooLong(ValueError):
    """What was sent as a password is longer than any password may be."""


class Busy(Exception):
    """More passwords wait to be looked at than can be dealt with; try again in a moment."""


def prepared(password: str) -> bytes:
    """Give the bytes that are hashed: all of the password, as NFKC in UTF-8.

    Raises:
        TooLong: there are more than 1,024 of them, or it is no text.
    """
    if len(password) > _FAR_TOO_LONG:  # before work is spent on it; composing makes a text shorter, but never so much
        raise TooLong
    try:
        form = unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError:
        raise TooLong from None
    if len(form) > MOST_BYTES:
        raise TooLong
    return form


class Blocklist:
    """Passwords that are tried first: 11,000 of the most common, and whatever else a file names, one a line."""

    def __init__(self, more: Path | None = None) -> None:
        lines = () if more is None else more.read_text().splitlines()
        self._common = _public_list() | frozenset(filter(None, map(_plain, lines)))

    def problem_of(self, password: str, own_words: Iterable[str] = ()) -> PasswordProblem | None:
        """Tell why somebody, to whom these words belong, may not have this password; None where nothing is wrong."""
        try:
            text = prepared(password).decode()
        except TooLong:
            return PasswordProblem.LONG
        if len(text) < LEAST_CHARACTERS:
            return PasswordProblem.SHORT
        plain = text.casefold()
        if plain in self._common or _is_run(plain):
            return PasswordProblem.COMMON
        if _SEPARATE.sub("", plain) in _parts_of((SERVICE_NAME, *own_words)):
            return PasswordProblem.PERSONAL
        return None


@functools.cache
def _public_list() -> frozenset[str]:
    return frozenset(filter(None, map(_plain, FREQUENCY_LISTS["passwords"])))


def _plain(word: str) -> str | None:
    """Give the form in which a word is compared; None for what is too short to be a password at all."""
    form = unicodedata.normalize("NFKC", word).casefold()
    return form if len(form) >= LEAST_CHARACTERS else None


def _is_run(text: str) -> bool:
    """Tell whether each character follows the one before it by the same step, as in `aaaaaaaa` and `12345678`."""
    return len({ord(after) - ord(before) for before, after in itertools.pairwise(text)}) == 1


def _parts_of(words: Iterable[str]) -> set[str]:
    """Give the letters of words, and of an address those of its parts and of what stands before the `@`."""
    found = set()
    for word in words:
        plain = unicodedata.normalize("NFKC", word).casefold()
        found |= {_SEPARATE.sub("", part) for part in (plain, plain.partition("@")[0])}
        found |= set(_SEPARATE.split(plain))
    return {each for each in found if len(each) >= _LEAST_OWN_WORD}


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """What one hash takes, and how many are made at once. The defaults are those that OWASP names for Argon2id."""

    memory_kib: int = 47_104
    passes: int = 2
    threads: int = max(1, (os.cpu_count() or 2) // 2)
    waiting: int = 32


class Passwords:
    """Hashes and verifies, a few at once; what would wait behind too many others is refused at once."""

    def __init__(self, effort: Effort | None = None) -> None:
        self._effort = effort or Effort()
        self._hasher = argon2.PasswordHasher(
            time_cost=self._effort.passes, memory_cost=self._effort.memory_kib, parallelism=1
        )
        self._threads = ThreadPoolExecutor(self._effort.threads, "passwords", initializer=_stand_back)
        self._places = threading.BoundedSemaphore(self._effort.threads + self._effort.waiting)
        self._nobodys = _hash_of_nothing(self._effort)

    def expect_room(self) -> None:
        """Raise Busy where too many others are waiting, before anything is done for one more."""
        if not self._places.acquire(blocking=False):
            PASSWORDS_REFUSED.inc()
            raise Busy
        self._places.release()

    async def hash(self, password: str) -> str:
        """Hash a password; raises TooLong and Busy."""
        form = prepared(password)
        return await self._work(lambda: self._hasher.hash(form))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether this is the password of a hash; one hash is made, also where there is none to compare with.

        Raises:
            TooLong: it is longer than any password.
            Busy: too many others are waiting.
        """
        form = prepared(password)
        is_right = await self._work(lambda: self._matches(self._nobodys if stored is None else stored, form))
        return is_right and stored is not None

    def is_dated(self, stored: str) -> bool:
        """Tell whether a hash was made with other effort than is made now."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Let the threads end, once what they do is done."""
        self._threads.shutdown(cancel_futures=True)

    async def _work(self, work: Callable[[], T]) -> T:
        if not self._places.acquire(blocking=False):
            PASSWORDS_REFUSED.inc()
            raise Busy
        PASSWORD_HASHES.inc()
        future = self._threads.submit(work)
        # The place is given back when the thread is done, not when whoever asked has gone away.
        future.add_done_callback(lambda _done: self._places.release())
        return await asyncio.wrap_future(future)

    def _matches(self, stored: str, form: bytes) -> bool:
        try:
            return self._hasher.verify(stored, form)
        except (VerificationError, InvalidHashError):
            return False


def _hash_of_nothing(effort: Effort) -> str:
    """Write a hash that no password has, which takes as much work to compare with as any other."""
    salt, nothing = (base64.b64encode(os.urandom(count)).rstrip(b"=").decode() for count in (16, 32))
    return f"$argon2id$v=19$m={effort.memory_kib},t={effort.passes},p=1${salt}${nothing}"


def _stand_back() -> None:
    """Let everything else on the machine go first: whoever signs in can wait a little, requests cannot."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
