"""Internal and opaque ids."""

import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import MAX_CELLS, NodeType, OpaqueIds, cell_of, new_id

IDS = OpaqueIds(secrets.token_bytes(32))
internal_ids = st.integers(min_value=0, max_value=(1 << 63) - 1)


@given(st.integers(min_value=0, max_value=MAX_CELLS - 1))
def test_the_home_cell_is_read_from_the_id(cell: int) -> None:
    internal_id = new_id(cell)
    assert cell_of(internal_id) == cell
    assert 0 < internal_id < 1 << 63


def test_a_cell_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1023"):
        new_id(MAX_CELLS)


@given(internal_ids)
def test_an_opaque_id_leads_back(internal_id: int) -> None:
    assert IDS.decode(NodeType.USER, IDS.encode(NodeType.USER, internal_id)) == internal_id


@given(internal_ids, st.integers(min_value=0, max_value=21), st.sampled_from("ABCDEFGHabcdefgh01234567-_"))
def test_a_changed_character_leads_nowhere(internal_id: int, at: int, character: str) -> None:
    text = IDS.encode(NodeType.USER, internal_id)
    changed = text[:at] + character + text[at + 1 :]
    assert changed == text or IDS.decode(NodeType.USER, changed) is None


@given(internal_ids)
def test_an_id_of_another_key_leads_nowhere(internal_id: int) -> None:
    other = OpaqueIds(b"x" * 32)
    assert IDS.decode(NodeType.USER, other.encode(NodeType.USER, internal_id)) is None


@pytest.mark.parametrize(
    "text", ["", "1", "9223372036854775808", "-0", "A" * 22, "A" * 10_000, "ä" * 22, "A" * 21 + "="]
)
def test_what_is_no_id_leads_nowhere(text: str) -> None:
    assert IDS.decode(NodeType.USER, text) is None


def test_an_id_has_one_spelling() -> None:
    text = IDS.encode(NodeType.USER, 7)
    block = base64.urlsafe_b64decode(text + "==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings = [text[:-1] + c for c in alphabet if base64.urlsafe_b64decode(text[:-1] + c + "==") == block]
    assert len(spellings) == 16
    assert [IDS.decode(NodeType.USER, spelling) for spelling in spellings].count(7) == 1


def test_neighbours_have_nothing_in_common() -> None:
    one, two = IDS.encode(NodeType.USER, 1), IDS.encode(NodeType.USER, 2)
    assert sum(a == b for a, b in zip(one, two, strict=True)) < 8
