"""Tallies: what two numbers of marks tell, what is left of a count, and the form in which both are stored."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.relationships import Relationship
from domain.tallies import NO_VIEWER, Blocked, Blocks, Tally, count_without, pack_ids, unpack_ids
from domain.users import Counts
from loaders.answers import Answers
from loaders.kinds import BLOCKS, TALLIES

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SOON, LATER = NOW + dt.timedelta(hours=1), NOW + dt.timedelta(hours=2)
# Multiples of 2^22 are ids of one cell in milliseconds without chance: their low bits are all alike.
IDS = st.sets(st.one_of(st.integers(1, 300), st.integers(1, 300).map(lambda each: each << 22)), max_size=40)
MANY = Tally(Counts(1000, 2000), None, None, b"read now")


def tally(followers: set[int], following: set[int]) -> Tally:
    return Tally(Counts(len(followers), len(following)), pack_ids(followers), pack_ids(following))


@given(IDS, IDS, IDS)
def test_what_is_left_of_a_count_is_whom_no_block_hides(
    followers: set[int], following: set[int], blocked: set[int]
) -> None:
    counted, hiding = tally(followers, following), Blocked(blocked)
    left = count_without(counted, hiding.as_set)
    assert left == Counts(len(followers - blocked), len(following - blocked))
    if not counted.mark() & hiding.marks:
        assert left == counted.counts


@given(IDS, IDS)
def test_a_tally_is_read_as_it_was_stored(followers: set[int], following: set[int]) -> None:
    stored = tally(followers, following)
    found = TALLIES.decode(TALLIES.encode(stored))
    assert found == stored
    assert found.marks == stored.mark() >= 0
    assert set(unpack_ids(found.followers or b"")) == followers


def test_a_tally_of_too_many_is_read_as_it_was_stored_and_meets_every_viewer() -> None:
    found = TALLIES.decode(TALLIES.encode(MANY))
    assert found == MANY
    assert found.mark() & Blocked(()).marks
    assert not found.mark() & NO_VIEWER.marks, "nobody blocks whoever is not signed in"


@pytest.mark.parametrize("cut", [0, 1, 8, 16, 23, 25, 272, 274, 281])
def test_a_value_of_another_form_is_no_tally(cut: int) -> None:
    whole = TALLIES.encode(tally({1, 2, 3}, {4}))
    with pytest.raises(ValueError, match="no tally"):
        TALLIES.decode(whole[:cut])


@pytest.mark.parametrize(
    ("pair", "hidden"),
    [
        (Relationship(), (False, False, False)),
        (Relationship(blocks=True), (True, True, True)),
        (Relationship(blocked_by=True), (True, True, True)),
        (Relationship(blocks=True, blocks_until=SOON), (True, False, False)),
        (Relationship(blocks=True, blocks_until=SOON, blocked_by=True, blocked_by_until=LATER), (True, True, False)),
        (Relationship(blocks=True, blocks_until=SOON, blocked_by=True), (True, True, True)),
        (Relationship(blocks=False, blocked_by=True, blocked_by_until=SOON), (True, False, False)),
    ],
)
def test_a_block_hides_until_its_end_and_another_one_longer(pair: Relationship, hidden: tuple[bool, ...]) -> None:
    blocks = Blocks.among({7: pair, 8: Relationship(blocks=True)})
    read = BLOCKS.decode(BLOCKS.encode(blocks))
    for each in (blocks, read):
        for _ in range(2):
            assert tuple(7 in each.at(when).ids for when in (NOW, SOON, LATER)) == hidden
            assert 8 in each.at(LATER).ids


def test_an_answer_of_the_cells_holds_for_the_very_tally_and_the_very_blocks() -> None:
    answers, shown = Answers(), Counts(999, 2000)
    answers.keep(1, 2, MANY, Blocked([3, 4]), shown)
    assert answers.recall(1, 2, MANY, Blocked([4, 3])) == shown
    assert answers.recall(1, 2, Tally(MANY.counts, None, None, b"read anew"), Blocked([3, 4])) is None
    assert answers.recall(1, 2, MANY, Blocked([3])) is None
    assert answers.recall(9, 2, MANY, Blocked([3, 4])) is None, "what one viewer asked is not quicker for another"


def test_so_many_answers_are_kept_and_the_latest() -> None:
    answers = Answers(most=2)
    for viewer in (1, 2, 1, 3):
        answers.keep(viewer, 2, MANY, Blocked(()), MANY.counts)
    assert [answers.recall(viewer, 2, MANY, Blocked(())) for viewer in (1, 2, 3)] == [MANY.counts, None, MANY.counts]
