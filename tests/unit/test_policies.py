"""Policies as documents: what cannot be read shows nothing."""

import json

import pytest

from domain.policies import (
    DEFAULT_POLICY,
    MOST_RESTRICTIVE,
    SCHEMA_PATH,
    Audience,
    FieldGroup,
    PrivacyPolicy,
    read_policy,
    write_policy,
)


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
    assert read_policy(text) is MOST_RESTRICTIVE


def test_the_published_schema_names_every_group_and_audience() -> None:
    schema = json.loads(SCHEMA_PATH.read_text())
    assert set(schema["properties"]["audiences"]["properties"]) == {group.value for group in FieldGroup}
    assert schema["$defs"]["audience"]["enum"] == [audience.value for audience in Audience]


def test_the_most_restrictive_policy_shows_nothing() -> None:
    assert MOST_RESTRICTIVE.is_private
    assert {MOST_RESTRICTIVE.audience_of(group) for group in FieldGroup} == {Audience.ONLY_ME}
