"""Whom the hidden know: what is taken off a count, what is noted, and what is kept of how many viewers."""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Overloaded
from domain.hidden_edges import EDGES_AT_MOST, HIDDEN_AT_MOST, HiddenEdges
from domain.ids import at_home_in, cell_of, new_id
from domain.tallies import Blocked, Tally, pack_ids
from domain.users import Counts
from loaders import hidden_edges
from loaders.hidden_edges import LIFE_S, HiddenEdgesOfViewers
from loaders.memory import Memory
from storage.generations import Generations
from tests.trust import Always

VIEWER, OTHER, OWNER, FOE = (new_id(0) for _ in range(4))
MANY = Counts(1000, 2000)
IDS = st.integers(1, 40)
Know = dict[int, tuple[set[int], set[int]]]


def tally(followers: set[int], following: set[int]) -> Tally:
    return Tally(Counts(len(followers), len(following)), pack_ids(followers), pack_ids(following))


def edges_of(know: Mapping[int, tuple[set[int], set[int]]]) -> HiddenEdges:
    edges = HiddenEdges(Blocked(know))
    edges.fill({each: tally(*sets) for each, sets in know.items()})
    return edges


@given(st.dictionaries(IDS, st.tuples(st.sets(IDS), st.sets(IDS)), max_size=6), IDS)
def test_a_count_shows_without_those_of_the_hidden_who_are_neighbours(know: Know, owner: int) -> None:
    follow = sum(owner in following for _, following in know.values())
    are_followed = sum(owner in followers for followers, _ in know.values())
    assert edges_of(know).shown(owner, MANY) == Counts(1000 - follow, 2000 - are_followed)


def test_a_counter_that_is_wrong_shows_no_less_than_nobody() -> None:
    assert edges_of({FOE: ({OWNER}, {OWNER})}).shown(OWNER, Counts(0, 0)) == Counts(0, 0)


def test_nothing_is_known_of_those_with_whom_something_has_changed_or_before_anything_was_read() -> None:
    edges = edges_of({FOE: (set(), {OWNER})})
    edges.changed.add(OWNER)
    assert edges.shown(OWNER, MANY) is None
    assert edges.shown(OTHER, MANY) == MANY
    assert HiddenEdges(Blocked([FOE])).shown(OTHER, MANY) is None


@pytest.mark.parametrize("known", [Tally(MANY, None, None, b"read now"), tally(set(range(EDGES_AT_MOST + 1)), set())])
def test_of_hidden_people_who_know_too_many_nothing_is_known(known: Tally) -> None:
    edges = HiddenEdges(Blocked([FOE, OTHER]))
    edges.fill({FOE: known, OTHER: tally({OWNER}, set())})
    assert (edges.shown(OWNER, MANY), edges.is_whole, len(edges)) == (None, False, 0)


class Generation:
    """Knows the generations of all cells, or of none."""

    def __init__(self) -> None:
        self.known: int | None = 1

    def of(self, cell: int) -> int | None:
        del cell
        return self.known


class Cells:
    """Answers who knows whom, and what is to happen meanwhile."""

    def __init__(self, know: Mapping[int, tuple[set[int], set[int]]]) -> None:
        self.know = know
        self.asked: list[Sequence[int]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    async def fetch(self, user_ids: Sequence[int]) -> Mapping[int, Tally]:
        self.asked.append(user_ids)
        self.meanwhile()
        return {each: tally(*sets) for each, sets in self.know.items() if each in user_ids}


class Kept:
    """The edges that a process keeps, over cells that answer at once."""

    def __init__(self, know: Mapping[int, tuple[set[int], set[int]]], most: int = 10) -> None:
        self.generation, self.cells = Generation(), Cells(know)
        self.memory = Memory(entries=1, size=1, trust=Always())
        generations = cast("Generations", self.generation)
        self.now = 1000.0
        self.edges = HiddenEdgesOfViewers(
            self.cells.fetch, [0, 1], self.memory, generations, most=most, clock=lambda: self.now
        )

    def fetch(self, viewer: int, *hidden: int) -> HiddenEdges:
        return run(self.edges.fetch(viewer, Blocked(hidden)))

    def shown(self, viewer: int, *hidden: int) -> Counts | None:
        kept = self.edges.recall(viewer, Blocked(hidden))
        return kept.shown(OWNER, MANY) if kept is not None else None


def run(work: Coroutine[Any, Any, HiddenEdges]) -> HiddenEdges:
    return asyncio.run(work)


def test_each_cell_is_asked_about_somebody_whether_or_not_anybody_is_hidden() -> None:
    kept = Kept({})
    for hidden in ((), (FOE,), (FOE, OTHER)):
        kept.fetch(VIEWER, *hidden)
    assert [{cell_of(each) for each in asked} for asked in kept.cells.asked] == [{0, 1}] * 3
    assert all(VIEWER in asked for asked in kept.cells.asked)
    assert at_home_in(0, at_home_in(1, VIEWER)) == VIEWER


def test_what_is_kept_holds_for_the_very_people_who_are_hidden() -> None:
    kept = Kept({FOE: (set(), {OWNER})})
    kept.fetch(VIEWER, FOE)
    assert kept.shown(VIEWER, FOE) == Counts(999, 2000)
    assert kept.shown(VIEWER) is kept.shown(VIEWER, FOE, OTHER) is kept.shown(OTHER, FOE) is None


@pytest.mark.parametrize("pair", [(FOE, OWNER), (OWNER, FOE)], ids=["either way", "around"])
def test_a_change_is_noted_of_those_whom_it_concerns(pair: tuple[int, int]) -> None:
    kept = Kept({FOE: (set(), {OWNER})})
    kept.fetch(VIEWER, FOE)
    kept.edges.note(OTHER, OWNER)
    kept.edges.note(FOE, OTHER)
    assert kept.shown(VIEWER, FOE) == Counts(999, 2000)
    kept.edges.note(*pair)
    assert kept.shown(VIEWER, FOE) is None
    kept.fetch(VIEWER, FOE)
    assert kept.shown(VIEWER, FOE) == Counts(999, 2000)


def test_a_change_while_it_is_read_is_noted_too() -> None:
    kept = Kept({FOE: (set(), {OWNER})})
    kept.cells.meanwhile = lambda: kept.edges.note(FOE, OWNER)
    assert kept.fetch(VIEWER, FOE).shown(OWNER, MANY) is None
    assert kept.shown(VIEWER, FOE) is None


def test_nothing_is_kept_that_was_read_while_everything_was_forgotten() -> None:
    kept = Kept({FOE: (set(), {OWNER})})
    kept.cells.meanwhile = kept.edges.forget_all
    kept.fetch(VIEWER, FOE)
    assert kept.shown(VIEWER, FOE) is None


def test_nothing_is_kept_or_used_while_memory_is_off_or_a_generation_is_not_known() -> None:
    kept = Kept({})
    kept.generation.known = None
    kept.fetch(VIEWER)
    assert kept.shown(VIEWER) is None
    kept.generation.known = 1
    kept.fetch(VIEWER)
    kept.memory.is_off = True
    assert kept.shown(VIEWER) is None
    assert kept.edges.kept() == []
    kept.fetch(OTHER)
    kept.memory.is_off = False
    assert kept.shown(OTHER) is None
    assert kept.shown(VIEWER) == MANY


def test_so_many_viewers_and_so_many_edges_are_kept_and_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept({FOE: (set(), {OWNER}), OTHER: ({1, 2}, {3, 4})}, most=2)
    for viewer in (1, 2, 1, 3):
        kept.fetch(viewer, FOE)
    assert [kept.shown(viewer, FOE) is not None for viewer in (1, 2, 3)] == [True, False, True]
    monkeypatch.setattr(hidden_edges, "EDGES", 4)
    kept.fetch(4, OTHER)
    assert [kept.shown(viewer, FOE) is not None for viewer in (1, 3)] == [False, False]
    assert kept.shown(4, OTHER) == MANY
    assert set(kept.edges._watched) == {OTHER}


def test_what_is_kept_has_its_time_and_notes_nothing_after_it() -> None:
    kept = Kept({FOE: (set(), {OWNER})})
    kept.fetch(VIEWER, FOE)
    kept.now += LIFE_S - 1
    assert kept.shown(VIEWER, FOE) == Counts(999, 2000)
    kept.now += 1
    assert kept.shown(VIEWER, FOE) is None
    assert kept.edges.kept() == []
    kept.fetch(OTHER)
    assert (list(kept.edges._held), kept.edges._watched, kept.edges._edges) == ([OTHER], {}, 0)


def test_what_cannot_be_read_leaves_nothing_behind_and_too_many_hidden_are_not_read_about() -> None:
    kept = Kept({FOE: (set(), {OWNER})})

    def fail() -> None:
        raise Overloaded(retryAfter=1)

    kept.cells.meanwhile = fail
    with pytest.raises(Overloaded):
        kept.fetch(VIEWER, FOE)
    assert (kept.shown(VIEWER, FOE), kept.edges._watched) == (None, {})
    asked = len(kept.cells.asked)
    assert not kept.fetch(VIEWER, *range(HIDDEN_AT_MOST + 1)).is_whole
    assert len(kept.cells.asked) == asked


def test_what_is_kept_of_a_viewer_without_blocks_takes_as_much_memory_as_is_said() -> None:
    many = 500
    kept = Kept({}, most=many)
    hidden = Blocked(())

    async def fetch_all() -> None:
        for viewer in range(many):
            await kept.edges.fetch(viewer << 30, hidden)
        kept.cells.asked.clear()

    gc.collect()
    tracemalloc.start()
    try:
        asyncio.run(fetch_all())
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / many < 800
