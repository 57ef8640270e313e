import asyncio
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from argon2.exceptions import VerifyMismatchError

from identity.metrics import PASSWORD_HASHES
from identity.passwords import Blocklist, Busy, Effort, PasswordProblem, Passwords, TooLong, prepared

CHEAP: Final = Effort(memory_kib=64, passes=1, threads=1, waiting=3)
GOOD: Final = "seven lamps in a cellar"


@pytest.fixture(scope="module")
def blocklist() -> Blocklist:
    return Blocklist()


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    opened = Passwords(CHEAP)
    yield opened
    opened.close()


def hashes() -> float:
    return float(PASSWORD_HASHES._value.get())


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        (GOOD, None),
        ("all lower case", None),
        ("ein Fluß im Süden", None),
        ("🐙🐙🐙🐙🐙🐙🐙🦑", None),
        ("zero\0in the middle", None),
        ("x" * 1023 + "y", None),
        ("x" * 1024 + "y", PasswordProblem.LONG),
        ("ü" * 513, PasswordProblem.LONG),
        ("x" * 10_000_000, PasswordProblem.LONG),
        ("lone \ud800 half", PasswordProblem.LONG),
        ("seven77", PasswordProblem.SHORT),
        ("äöüäöüä", PasswordProblem.SHORT),
        ("", PasswordProblem.SHORT),
        ("password1", PasswordProblem.COMMON),
        ("PassWord1", PasswordProblem.COMMON),
        ("\uff50assword1", PasswordProblem.COMMON),
        ("zzzzzzzzzzzz", PasswordProblem.COMMON),
        ("abcdefghijklm", PasswordProblem.COMMON),
        ("98765432", PasswordProblem.COMMON),
        ("Kith-2026!", PasswordProblem.PERSONAL),
        ("ana.reyes.1987", PasswordProblem.PERSONAL),
        ("anareyes1987", PasswordProblem.PERSONAL),
        ("example1234", PasswordProblem.PERSONAL),
        ("ana reyes lives here", None),
    ],
)
def test_length_and_what_others_try_decide_and_nothing_else(
    blocklist: Blocklist, password: str, problem: PasswordProblem | None
) -> None:
    assert blocklist.problem_of(password, ["ana.reyes@example.org"]) is problem


def test_an_operator_names_more_passwords_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "more.txt"
    file.write_text(f"short\n{GOOD.upper()}\n\n")
    assert Blocklist(file).problem_of(GOOD) is PasswordProblem.COMMON


async def test_a_password_is_the_same_in_every_form_and_nothing_of_it_is_cut_off(passwords: Passwords) -> None:
    written = "Ångström für fünf"
    stored = await passwords.hash(unicodedata.normalize("NFC", written))
    assert await passwords.verify(stored, unicodedata.normalize("NFD", written))
    for start in ("x" * 72, "x" * 1000, "zero\0"):
        stored = await passwords.hash(start + "a")
        assert await passwords.verify(stored, start + "a")
        assert not await passwords.verify(stored, start + "b")
        assert not await passwords.verify(stored, start)


async def test_what_is_too_long_costs_no_hash(passwords: Passwords) -> None:
    before = hashes()
    for password in ("x" * 1025, "x" * 10_000_000, "ü" * 513):
        with pytest.raises(TooLong):
            await passwords.verify(None, password)
        with pytest.raises(TooLong):
            await passwords.hash(password)
    assert hashes() == before
    assert len(prepared("e\u0301" * 512)) == 1024


async def test_one_hash_is_made_whether_or_not_there_is_one_to_compare_with(passwords: Passwords) -> None:
    stored = await passwords.hash(GOOD)
    for known in (stored, None):
        before = hashes()
        assert not await passwords.verify(known, "wrong password")
        assert hashes() == before + 1
    assert not await passwords.verify(None, GOOD)
    assert not await passwords.verify("no hash at all", GOOD)
    with pytest.raises(VerifyMismatchError):  # compared to the end, not thrown out as malformed
        passwords._hasher.verify(passwords._nobodys, GOOD)


async def test_what_would_wait_behind_too_many_others_is_refused_at_once(passwords: Passwords) -> None:
    gate, before = threading.Event(), hashes()
    most = CHEAP.threads + CHEAP.waiting
    waiting = [asyncio.ensure_future(passwords._work(gate.wait)) for _ in range(most)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(30):
            for _ in range(500):
                with pytest.raises(Busy):
                    await passwords.verify(None, GOOD)
                with pytest.raises(Busy):
                    passwords.expect_room()
        assert hashes() == before + most
    finally:
        gate.set()
    await asyncio.gather(*waiting)
    passwords.expect_room()
    assert await passwords.hash(GOOD)


async def test_a_place_is_taken_for_as_long_as_the_thread_works_whoever_has_gone() -> None:
    passwords, gate, begun = Passwords(Effort(64, 1, threads=1, waiting=0)), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        gate.wait()

    leaving = asyncio.ensure_future(passwords._work(work))
    await asyncio.sleep(0)
    await asyncio.to_thread(begun.wait)
    leaving.cancel()
    try:
        async with asyncio.timeout(30):
            with pytest.raises(Busy):
                await passwords.hash(GOOD)
    finally:
        gate.set()
        passwords.close()


async def test_a_hash_made_with_other_effort_is_dated(passwords: Passwords) -> None:
    stored = await passwords.hash(GOOD)
    assert stored.startswith("$argon2id$")
    dearer = Passwords(Effort(memory_kib=128, passes=1, threads=1, waiting=1))
    assert (passwords.is_dated(stored), dearer.is_dated(stored)) == (False, True)
    dearer.close()
