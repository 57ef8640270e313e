"""Seeded interleavings: no stale fact in any, and with a guard taken away in some.

`PROVE=long` plays 20,000; seeds that ever failed are played first.
"""

import concurrent.futures
import logging
import multiprocessing
import os
import sys
from pathlib import Path

import pytest

from tests.proof.caches.planted import PLANTED
from tests.proof.caches.schedule import failing, find_wrong

LONG = os.environ.get("PROVE") == "long"
SCHEDULES = 20_000 if LONG else 300
KNOWN = Path(__file__).with_name("failing_seeds.txt")
AT_ONCE = 100


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "storage")


def known_seeds() -> list[int]:
    """Give the seeds that failed once, here or with a guard taken away."""
    return [int(line.split()[0]) for line in KNOWN.read_text().splitlines() if line.strip()]


def play_some(first: int) -> list[tuple[int, list[str]]]:
    """Play some schedules in a process of its own."""
    logging.disable(logging.CRITICAL)
    return list(failing(range(first, first + AT_ONCE)))


@pytest.mark.parametrize("seed", known_seeds())
def test_a_schedule_that_once_failed_no_longer_does(seed: int) -> None:
    assert find_wrong(seed) == []


def test_no_schedule_uses_a_stale_fact_keeps_one_or_waits_for_ever() -> None:
    if not LONG:
        assert list(failing(range(SCHEDULES))) == []
        return
    with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [wrong for some in pool.map(play_some, range(0, SCHEDULES, AT_ONCE)) for wrong in some]
    with KNOWN.open("a") as kept:
        kept.writelines(f"{seed}  {'; '.join(wrong)}\n" for seed, wrong in found)
    assert found == []


@pytest.mark.parametrize("name", [name for name, planted in PLANTED.items() if planted.seed is not None])
def test_a_guard_that_is_taken_away_is_missed(name: str) -> None:
    """Play until something is wrong: how many seeds that takes is printed. The others: `test_rare_schedules`."""
    start = 0 if LONG else PLANTED[name].seed or 0
    with PLANTED[name].plant():
        first = next(failing(range(start, start + SCHEDULES)), None)
    assert first is not None
    sys.stdout.write(f"{name}: found after {first[0] + 1} schedules: {first[1]}\n")
