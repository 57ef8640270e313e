"""Policies as documents: what cannot be read shows nothing. And presets: a ladder whose steps are known by name."""

import dataclasses
import itertools
import json

import pytest

from domain.policies import (
    DEFAULT_POLICY,
    MAX_LISTED,
    MOST_RESTRICTIVE,
    PRESETS,
    SCHEMA_PATH,
    Audience,
    FieldGroup,
    PrivacyPolicy,
    PrivacyPreset,
    apply_preset,
    listed,
    preset_of,
    read_policy,
    write_policy,
)

WIDTH = {audience: number for number, audience in enumerate(Audience)}


def document(**changes: object) -> str:
    return json.dumps({**json.loads(write_policy(DEFAULT_POLICY)), **changes})


def test_a_policy_survives_being_stored() -> None:
    policy = PrivacyPolicy(
        is_private=True,
        audiences=dict.fromkeys(FieldGroup, Audience.MUTUALS),
        allow=frozenset({1, 2}),
        deny=frozenset({3}),
    )
    assert read_policy(write_policy(policy)) == policy
    assert read_policy(write_policy(DEFAULT_POLICY)) == DEFAULT_POLICY


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "null",
        "[]",
        "{}",
        "{",
        document(version=2),
        document(private="yes"),
        document(audiences=[]),
        document(audiences={"BIO": "EVERYONE"}),
        document(audiences={"SECRET": "PUBLIC"}),
        document(audiences={"__proto__": "PUBLIC"}),
        document(allow="everyone"),
        document(allow=[1]),
        document(allow=["0"]),
        document(allow=["1", "1"]),
        document(deny=[str(n) for n in range(1, 1002)]),
        document(unknown=True),
        "[" * 100_000,
        document(deny=["x" * 1_000_000]),
    ],
    ids=lambda text: repr(text)[:40],
)
def test_an_unreadable_policy_is_the_most_restrictive(text: str | None) -> None:
    policy = read_policy(text)
    assert dataclasses.replace(policy, unread=None) == MOST_RESTRICTIVE
    assert write_policy(policy) == text or not text  # it is stored again as it was found


def test_an_unreadable_policy_stays_the_most_restrictive_when_it_is_written_again() -> None:
    again = read_policy(write_policy(MOST_RESTRICTIVE))
    assert again.is_private
    assert {again.audience_of(group) for group in FieldGroup} == {Audience.ONLY_ME}


def test_the_published_schema_allows_as_many_in_a_list_as_the_api() -> None:
    assert json.loads(SCHEMA_PATH.read_text())["$defs"]["people"]["maxItems"] == MAX_LISTED


def test_the_published_schema_names_every_group_and_audience() -> None:
    schema = json.loads(SCHEMA_PATH.read_text())
    assert set(schema["properties"]["audiences"]["properties"]) == {group.value for group in FieldGroup}
    assert schema["$defs"]["audience"]["enum"] == [audience.value for audience in Audience]


def test_the_most_restrictive_policy_shows_nothing() -> None:
    assert MOST_RESTRICTIVE.is_private
    assert {MOST_RESTRICTIVE.audience_of(group) for group in FieldGroup} == {Audience.ONLY_ME}


def test_every_preset_names_every_group_and_survives_being_stored() -> None:
    assert list(PRESETS) == list(PrivacyPreset)
    for terms in PRESETS.values():
        assert set(terms.audiences) == set(FieldGroup)
        assert read_policy(write_policy(terms)) == terms


def test_the_standard_is_what_a_new_account_has() -> None:
    assert PRESETS[PrivacyPreset.STANDARD] == DEFAULT_POLICY
    assert preset_of(DEFAULT_POLICY) is PrivacyPreset.STANDARD


@pytest.mark.parametrize(("wider", "narrower"), list(itertools.pairwise(PrivacyPreset)), ids=lambda one: one.value)
def test_each_preset_shows_less_than_the_one_before(wider: PrivacyPreset, narrower: PrivacyPreset) -> None:
    before, after = PRESETS[wider], PRESETS[narrower]
    assert before.is_private <= after.is_private
    steps = [WIDTH[before.audience_of(group)] - WIDTH[after.audience_of(group)] for group in FieldGroup]
    assert min(steps) >= 0
    assert max(steps) > 0


def test_no_preset_shows_how_to_reach_a_person() -> None:
    personal = (FieldGroup.EMAIL, FieldGroup.PHONE, FieldGroup.BIRTH_DATE)
    assert {terms.audience_of(group) for terms in PRESETS.values() for group in personal} == {Audience.ONLY_ME}


@pytest.mark.parametrize("preset", list(PrivacyPreset), ids=lambda preset: preset.value)
def test_a_preset_leaves_the_lists_and_is_known_again_whatever_they_hold(preset: PrivacyPreset) -> None:
    own = PrivacyPolicy(is_private=True, audiences={}, allow=frozenset({1, 2}), deny=frozenset({3}))
    chosen = apply_preset(own, preset)
    assert (chosen.allow, chosen.deny) == (own.allow, own.deny)
    assert preset_of(chosen) is preset
    assert apply_preset(chosen, preset) == chosen


@pytest.mark.parametrize("preset", list(PrivacyPreset), ids=lambda preset: preset.value)
def test_a_policy_that_differs_from_a_preset_in_one_thing_is_not_that_preset(preset: PrivacyPreset) -> None:
    terms = PRESETS[preset]
    assert preset_of(dataclasses.replace(terms, is_private=not terms.is_private)) is None
    for group in FieldGroup:
        for audience in set(Audience) - {terms.audience_of(group)}:
            changed = dataclasses.replace(terms, audiences={**terms.audiences, group: audience})
            assert preset_of(changed) is not preset


def test_whom_the_owner_cannot_see_stays_on_a_list_as_long_as_there_is_room() -> None:
    assert listed([1, 2], [2, 9, 8]) == {1, 2, 8, 9}
    named = range(1, MAX_LISTED)
    assert listed(named, [5000, 6000]) == {*named, 5000}
    assert listed(range(1, MAX_LISTED + 1), [5000]) == set(range(1, MAX_LISTED + 1))
    assert read_policy(write_policy(PrivacyPolicy(deny=listed(named, [5000, 6000])))).unread is None
