"""What the memory of a process holds, and what goes first when room is short."""

from typing import Any

from loaders.memory import ENDING_S, ENTRY_OVERHEAD, Memory
from tests.trust import Always

SIZE = 100
ROOM = 4
TIMES = 3


def make() -> Memory:
    """Make a memory with room for four values, at a time that stands still."""
    return Memory(entries=ROOM, size=ROOM * (SIZE + ENTRY_OVERHEAD), trust=Always(), clock=lambda: 0.0)


def put(memory: Memory, *places: tuple[str, int]) -> None:
    """Remember values that are asked for again and again: once room is short, the first time is only noted."""
    for place in places:
        for _ in range(TIMES):
            memory.put(place, f"{place}", size=SIZE, until=1.0)


def held(memory: Memory) -> list[tuple[str, int]]:
    """Give the places of what is held."""
    return [(kind, key) for kind, key, _ in memory.usable()]


def test_what_is_asked_for_once_is_remembered_until_hardly_any_room_is_left() -> None:
    memory = make()
    for key in range(2 * ROOM):
        memory.put(("user", key), key, size=SIZE, until=1.0)
    assert held(memory) == [("user", key) for key in range(ROOM)]
    put(memory, ("user", 2 * ROOM))
    assert held(memory) == [("user", key) for key in (*range(1, ROOM), 2 * ROOM)]


def test_the_oldest_goes_first_whatever_its_kind() -> None:
    memory = make()
    put(memory, ("user", 1), ("tally", 1), ("user", 2), ("tally", 2), ("name", 3), ("name", 4))
    assert held(memory) == [("user", 2), ("tally", 2), ("name", 3), ("name", 4)]
    assert (memory.entries, memory.size) == (ROOM, ROOM * (SIZE + ENTRY_OVERHEAD))


def test_the_same_key_of_two_kinds_is_two_values() -> None:
    memory = make()
    put(memory, ("user", 1), ("tally", 1))
    found: dict[int, Any] = {}
    memory.gather("tally", [1, 2], [1, 2], found)
    assert found == {1: "('tally', 1)"}
    assert (memory.recall("tally", [1]), memory.recall("tally", [1, 2])) == (["('tally', 1)"], None)
    memory.drop(("user", 1))
    assert held(memory) == [("tally", 1)]


def test_all_is_recalled_at_once_only_while_none_of_it_ends_soon() -> None:
    now, trust = 0.0, Always()
    memory = Memory(entries=ROOM, size=ROOM * (SIZE + ENTRY_OVERHEAD), trust=trust, clock=lambda: now)
    put(memory, ("user", 1))
    assert memory.recall("user", [1, 1]) == ["('user', 1)"] * 2
    now = 1.0 - ENDING_S / 2
    found: dict[int, Any] = {}
    memory.gather("user", [1], [1], found)
    assert (memory.recall("user", [1]), list(found)) == (None, [1]), "whoever looks one by one notes that it ends"
    now = 0.0
    memory.is_off = True
    assert memory.recall("user", [1]) is None, "nothing is used while changes are not heard of"


def test_nothing_is_recalled_once_it_may_no_longer_be_given() -> None:
    trust = Always()
    memory = Memory(entries=ROOM, size=ROOM * (SIZE + ENTRY_OVERHEAD), trust=trust, clock=lambda: 0.5)
    put(memory, ("user", 1))
    trust.sure_until, trust.lapse = 0.5, memory.clear  # type: ignore[method-assign] # as the generations do
    assert memory.recall("user", [1]) is None


def test_what_is_put_again_is_young_again() -> None:
    memory = make()
    put(memory, ("user", 1), ("user", 2), ("user", 3), ("user", 4), ("user", 1), ("user", 5))
    assert [key for _, key in held(memory)] == [3, 4, 1, 5]


def test_nothing_is_left_of_what_was_forgotten() -> None:
    memory = make()
    put(memory, ("user", 1), ("tally", 1))
    memory.drop(("user", 1))
    memory.drop(("user", 1))
    memory.clear()
    assert (memory.entries, memory.size, memory.get(("tally", 1))) == (0, 0, None)


def test_what_has_changed_is_remembered_anew_at_once_though_room_is_short() -> None:
    memory = Memory(entries=100, size=10**6, trust=Always(), clock=lambda: 0.0)
    put(memory, *(("user", number) for number in range(100)))
    for known in (2, 3, 4):
        memory.drop(("user", known))
    for number in (101, 2, 102, 3):
        memory.put(("user", number), "asked for once", size=SIZE, until=1.0)
    assert [key for _, key in held(memory)][-3:] == [99, 2, 3]


def test_of_several_keys_with_one_place_the_last_is_held() -> None:
    memory = make()
    for epoch in (b"old", b"new"):
        memory.put(("side", 7), epoch, size=SIZE, until=1.0, key=(7, epoch))
    assert memory.usable() == [("side", (7, b"new"), b"new")]
    memory.drop(("side", 7))
    assert (memory.entries, memory.size) == (0, 0)
