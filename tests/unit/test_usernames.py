"""What can be a name, and which names are the same."""

import pytest

from domain.usernames import is_claimable, suggestions_for, username_key, username_skeleton, written_username


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


@pytest.mark.parametrize("key", ["adm1n", "offlc1al", "rne", "admin", "me", "api", "graphql", "a.d.m.i.n", "v_1"])
def test_reserved_words_are_nobodys(key: str) -> None:
    assert not is_claimable(key)


def test_an_ordinary_name_can_be_claimed() -> None:
    assert is_claimable("ana")


@pytest.mark.parametrize("name", ["lily", "1i1y", "IILY", "1ily", "Lily"])
def test_names_that_look_alike_have_one_skeleton(name: str) -> None:
    assert username_skeleton(username_key(name) or "") == username_skeleton("lily")


@pytest.mark.parametrize(("one", "other"), [("rnoon.vvalk", "m0on_walk"), ("a.b", "a_b"), ("b0b", "bob")])
def test_pairs_and_separators_look_alike_too(one: str, other: str) -> None:
    assert username_skeleton(one) == username_skeleton(other)


@pytest.mark.parametrize("other", ["an", "anna", "ana_", "a.na", "ama"])
def test_other_names_have_other_skeletons(other: str) -> None:
    assert username_skeleton(other) != username_skeleton("ana")


@pytest.mark.parametrize(
    ("text", "written"), [("Ana", "Ana"), ("\uff21\uff4e\uff41", "Ana"), ("stra\u00dfe", "strasse")]
)
def test_a_name_is_kept_as_it_is_written_in_the_letters_of_its_key(text: str, written: str) -> None:
    assert written_username(text) == written
    assert username_key(written) == username_key(text)


@pytest.mark.parametrize("key", ["ana", "a" * 30, "a.b", "a" * 24 + "._"[:1] + "bcdef"])
def test_suggestions_are_names(key: str) -> None:
    numbers = iter(range(7000, 7100))
    names = suggestions_for(key, lambda _below: next(numbers), 5)
    assert names
    assert all(username_key(name) == name and name != key for name in names)
