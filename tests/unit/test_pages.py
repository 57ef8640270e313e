"""Page arguments and cursors."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.pages import Cursors, PageRequest, Position, page_request

CURSORS = Cursors(secrets.token_bytes(32))
keys = st.integers(min_value=0, max_value=(1 << 63) - 1)


@given(st.lists(st.tuples(keys, keys), max_size=5))
def test_cursors_lead_back_to_their_positions(pairs: list[tuple[int, int]]) -> None:
    positions = [Position(*pair) for pair in pairs]
    assert [CURSORS.decode("a list", text) for text in CURSORS.encode("a list", positions)] == positions


def test_a_cursor_of_another_scope_is_refused() -> None:
    [text] = CURSORS.encode("ana's list", [Position(1, 2)])
    with pytest.raises(InvalidInput, match="does not belong to this list"):
        CURSORS.decode("bo's list", text)


@given(st.binary(max_size=40), st.integers(min_value=0, max_value=31))
def test_a_forged_or_cut_cursor_is_refused(noise: bytes, at: int) -> None:
    [text] = CURSORS.encode("a list", [Position(1, 2)])
    flipped = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    for forged in (text[:at], flipped, text + "A", noise.hex(), ""):
        with pytest.raises(InvalidInput):
            CURSORS.decode("a list", forged)


@pytest.mark.parametrize(
    ("first", "after", "last", "before", "expected"),
    [
        (10, None, None, None, PageRequest(10, None, backward=False)),
        (1, "c", None, None, PageRequest(1, "c", backward=False)),
        (None, None, 100, None, PageRequest(100, None, backward=True)),
        (None, None, 5, "c", PageRequest(5, "c", backward=True)),
    ],
)
def test_a_page_is_asked_for_in_one_direction(
    first: int | None, after: str | None, last: int | None, before: str | None, expected: PageRequest
) -> None:
    assert page_request(first, after, last, before) == expected


@pytest.mark.parametrize(
    ("first", "after", "last", "before"),
    [
        (None, None, None, None),
        (1, None, 1, None),
        (0, None, None, None),
        (-1, None, None, None),
        (101, None, None, None),
        (99_999_999, None, None, None),
        (None, None, 0, None),
        (None, None, 101, None),
        (1, None, None, "c"),
        (None, "c", 1, None),
    ],
)
def test_any_other_page_is_refused(first: int | None, after: str | None, last: int | None, before: str | None) -> None:
    with pytest.raises(InvalidInput):
        page_request(first, after, last, before)
