"""Up to which version of a pair a process has forgotten what it remembered, and how the stream says so."""

from typing import Any

import pytest

from loaders.pair_versions import PairVersions
from storage import epochs


def test_a_version_stands_for_those_before_it_whoever_of_the_two_is_named_first() -> None:
    versions = PairVersions()
    versions.note((7, 5), 3)
    versions.note((5, 7), 2)
    assert [versions.has((5, 7), version) for version in (2, 3, 4)] == [True, True, False]
    assert not versions.has((5, 8), 1)


def test_the_pair_that_was_noted_longest_ago_goes_first() -> None:
    versions = PairVersions(most=2)
    for pair in ((1, 2), (1, 3), (1, 2), (1, 4)):
        versions.note(pair, 1)
    assert [versions.has(pair, 1) for pair in ((1, 2), (1, 3), (1, 4))] == [True, False, True]


def listed(people: tuple[int, ...], version: int) -> list[bytes]:
    [command] = epochs.announcement(people, version)
    return [str(field).encode() for field in command[command.index("*") + 1 :]]


@pytest.mark.parametrize(("people", "version"), [((7,), 0), ((7, 9), 0), ((7, 9), 12), ((7, 7), 0)])
def test_what_is_listed_of_a_change_is_read_again_and_its_values_are_people(
    people: tuple[int, ...], version: int
) -> None:
    fields = listed(people, version)
    by_name: Any = dict(zip(fields[::2], fields[1::2], strict=True))
    assert epochs._change_in(fields) == epochs._change_in(by_name) == (list(people), version)
    assert tuple(map(int, by_name.values())) == people, "processes of before read the values alone"


def test_a_name_of_later_than_this_code_says_nothing_of_a_version() -> None:
    assert epochs._change_in([b"u", b"7", b"v3x", b"9"]) == ([7, 9], 0)
