"""What can be a name, and which names are the same."""

import pytest

from domain.usernames import is_claimable, username_key


@pytest.mark.parametrize("text", ["ana", "Ana", "ANA", "\uff41\uff4e\uff41"])
def test_other_cases_and_widths_are_the_same_name(text: str) -> None:
    assert username_key(text) == "ana"


@pytest.mark.parametrize("text", ["a.b", "a_b", "ab", "a" * 30, "x1", "1x", "a.b_c.d"])
def test_letters_digits_and_single_dots_or_underscores_inside_are_a_name(text: str) -> None:
    assert username_key(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "a" * 31, ".a", "a.", "a..b", "a._b", "_a", "a b", "a\u0000b", "añb", "\u0430na",
     "a\u202eb", "a\u200db", "😀😀", "a/b", "a%b", "' OR 1=1--",
     "a" * 10_000],
)  # fmt: skip
def test_anything_else_is_none(text: str) -> None:
    assert username_key(text) is None


@pytest.mark.parametrize("key", ["admin", "me", "api", "graphql", "a.d.m.i.n", "v_1"])
def test_reserved_words_are_nobodys(key: str) -> None:
    assert not is_claimable(key)


def test_an_ordinary_name_can_be_claimed() -> None:
    assert is_claimable("ana")
