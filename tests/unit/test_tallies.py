"""Tallies: what is counted in plain numbers shows as if Prometheus had counted it."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest

from execution.tallies import CounterTally, HistogramTally, publish
from transport.metrics import render

AMOUNTS: Final = (0.0, 0.0005, 0.001, 0.0010001, 0.3, 2.5, 99.0)
BOUNDS: Final = (0.001, 0.25, 2.5)
COUNTING: Final = """
from execution.tallies import CounterTally, publish
from prometheus_client import Counter
tally = CounterTally(Counter("c", "Counted."))
tally.count += {count}
publish()
"""


def shown(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


def test_a_histogram_shows_what_one_without_a_tally_shows() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    tally = HistogramTally(Histogram("h", "Observed.", ["a"], buckets=BOUNDS, registry=one).labels("b"))
    plain = Histogram("h", "Observed.", ["a"], buckets=BOUNDS, registry=other).labels("b")
    for round_ in range(2):
        for amount in AMOUNTS:
            tally.observe(amount + round_)
            plain.observe(amount + round_)
        publish()
        assert shown(one) == shown(other)
    publish()
    assert shown(one) == shown(other)


def test_whoever_asks_for_metrics_is_told_what_was_counted_just_now() -> None:
    counter = Counter("tallied", "Counted.")
    tally = CounterTally(counter)
    for total in (b"2.0", b"4.0"):
        tally.count += 2
        assert render().count(b"\ntallied_total " + total) == render().count(b"\ntallied_total ") == 1
    REGISTRY.unregister(counter)


def test_what_a_process_published_stays_when_it_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for count in (2, 3):
        subprocess.run([sys.executable, "-c", COUNTING.format(count=count)], check=True, timeout=60)
    assert b"\nc_total 5.0\n" in render()
