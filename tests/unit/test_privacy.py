"""The truth table of privacy: each kind of viewer and each audience, private or not, and the order of the rules."""

import datetime as dt
import itertools

import pytest

from domain.policies import DEFAULT_AUDIENCES, Audience, FieldGroup, PrivacyPolicy
from domain.relationships import STRANGERS, FollowState, Relationship
from domain.users import User, UserState
from privacy import policy as policies
from privacy import rules
from privacy.policy import decide, decide_group, see, see_own_block
from privacy.rules import Question, Verdict

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
TARGET, VIEWER = 1, 2

VIEWERS: dict[str, tuple[int | None, Relationship]] = {
    "self": (TARGET, Relationship()),
    "mutual": (VIEWER, Relationship(follows=FollowState.ACTIVE, followed_by=FollowState.ACTIVE)),
    "follower": (VIEWER, Relationship(follows=FollowState.ACTIVE)),
    "asked": (VIEWER, Relationship(follows=FollowState.PENDING)),
    "followed": (VIEWER, Relationship(followed_by=FollowState.ACTIVE)),
    "member": (VIEWER, Relationship()),
    "anonymous": (None, Relationship()),
}
SHOWN = {
    Audience.ONLY_ME: {"self"},
    Audience.MUTUALS: {"self", "mutual"},
    Audience.FOLLOWERS: {"self", "mutual", "follower"},
    Audience.SIGNED_IN: {"self", "mutual", "follower", "asked", "followed", "member"},
    Audience.PUBLIC: set(VIEWERS),
}
FOLLOWERS_AND_SELF = {"self", "mutual", "follower"}


def person(policy: PrivacyPolicy | None = None, state: UserState = UserState.ACTIVE) -> User:
    return User(
        id=TARGET,
        opaque_id="x",
        username="ana",
        display_name=None,
        bio="b",
        avatar_url=None,
        pronouns=None,
        location=None,
        links=(),
        policy=policy or PrivacyPolicy(),
        state=state,
        version=1,
        created_at=NOW,
    )


def question(viewer: str, policy: PrivacyPolicy) -> Question:
    viewer_id, relationship = VIEWERS[viewer]
    return Question(viewer_id, person(policy), relationship, NOW)


@pytest.mark.parametrize(("viewer", "audience"), list(itertools.product(VIEWERS, Audience)))
def test_an_audience_shows_a_group_to_whom_it_names(viewer: str, audience: Audience) -> None:
    for group in FieldGroup:
        policy = PrivacyPolicy(audiences={**DEFAULT_AUDIENCES, group: audience})
        assert decide_group(question(viewer, policy), group).allowed == (viewer in SHOWN[audience])


@pytest.mark.parametrize(("viewer", "audience"), list(itertools.product(VIEWERS, Audience)))
def test_a_private_account_shows_strangers_no_group_but_counts(viewer: str, audience: Audience) -> None:
    for group in FieldGroup:
        policy = PrivacyPolicy(is_private=True, audiences={**DEFAULT_AUDIENCES, group: audience})
        shown = SHOWN[audience] if group is FieldGroup.COUNTS else SHOWN[audience] & FOLLOWERS_AND_SELF
        assert decide_group(question(viewer, policy), group).allowed == (viewer in shown)


def test_the_deny_list_goes_before_the_allow_list_and_both_before_the_audience() -> None:
    closed = dict.fromkeys(FieldGroup, Audience.MUTUALS)
    allowed = PrivacyPolicy(audiences=closed, allow=frozenset({VIEWER}))
    denied = PrivacyPolicy(allow=frozenset({VIEWER}), deny=frozenset({VIEWER}))
    assert decide_group(question("member", allowed), FieldGroup.BIO).rule == "allow_listed"
    assert decide_group(question("mutual", denied), FieldGroup.BIO).rule == "deny_listed"


def test_the_allow_list_does_not_open_what_is_shown_to_nobody() -> None:
    policy = PrivacyPolicy(audiences={FieldGroup.BIO: Audience.ONLY_ME}, allow=frozenset({VIEWER}))
    assert not decide_group(question("mutual", policy), FieldGroup.BIO).allowed


@pytest.mark.parametrize("state", [UserState.DELETED, UserState.SUSPENDED])
@pytest.mark.parametrize("viewer", VIEWERS)
def test_nobody_meets_who_is_gone(viewer: str, state: UserState) -> None:
    viewer_id, relationship = VIEWERS[viewer]
    assert see(viewer_id, person(state=state), relationship, NOW) is None


@pytest.mark.parametrize(
    ("relationship", "visible"),
    [
        (Relationship(blocks=True), False),
        (Relationship(blocked_by=True), False),
        (Relationship(blocks=True, blocks_until=NOW + HOUR), False),
        (Relationship(blocked_by=True, blocked_by_until=NOW + HOUR), False),
        (Relationship(blocks=True, blocks_until=NOW), True),
        (Relationship(blocked_by=True, blocked_by_until=NOW - HOUR), True),
    ],
)
def test_a_block_either_way_hides_until_it_ends(relationship: Relationship, visible: bool) -> None:
    assert (see(VIEWER, person(), relationship, NOW) is not None) == visible


def test_the_stub_of_a_person_one_blocks_is_the_same_whether_or_not_that_person_blocks_back() -> None:
    one_way = see_own_block(VIEWER, person(), Relationship(blocks=True), NOW)
    both_ways = see_own_block(VIEWER, person(), Relationship(blocks=True, blocked_by=True), NOW)
    assert one_way is not None
    assert both_ways is not None
    for group in FieldGroup:
        assert not one_way.allows(group)
        assert not both_ways.allows(group)
    assert (one_way.viewer_has_blocked, one_way.viewer_can_follow) == (
        both_ways.viewer_has_blocked,
        both_ways.viewer_can_follow,
    )
    assert see_own_block(VIEWER, person(), Relationship(blocked_by=True), NOW) is None


def test_a_rule_that_fails_denies_and_names_itself(caplog: pytest.LogCaptureFixture) -> None:
    def explodes(_question: Question) -> Verdict:
        raise RuntimeError("the text of a person")

    decision = decide(question("member", PrivacyPolicy()), [explodes, rules.allow_everybody])
    assert (decision.allowed, decision.rule) == (False, "explodes")
    assert "explodes failed and denies" in caplog.text


def test_the_end_of_the_rules_denies() -> None:
    assert not decide(question("member", PrivacyPolicy()), []).allowed


BLOCKS = (None, NOW, NOW + HOUR)
LISTS = (frozenset[int](), frozenset({VIEWER}))


def every_relationship() -> list[Relationship]:
    states = list(FollowState)
    pairs = [
        Relationship(
            follows=follows, followed_by=followed, blocks=blocks, blocks_until=until, blocked_by=blocked, mutes=True
        )
        for follows, followed, blocks, blocked in itertools.product(states, states, (False, True), (False, True))
        for until in (BLOCKS if blocks else (None,))
    ]
    return [STRANGERS, *pairs]


@pytest.mark.parametrize("is_private", [False, True])
@pytest.mark.parametrize("audience", Audience)
def test_what_is_remembered_of_decisions_is_what_the_rules_say(audience: Audience, is_private: bool) -> None:
    audiences = {**DEFAULT_AUDIENCES, FieldGroup.BIO: audience, FieldGroup.COUNTS: audience}
    for allow, deny, state in itertools.product(LISTS, LISTS, (UserState.ACTIVE, UserState.DELETED)):
        target = person(PrivacyPolicy(is_private, audiences, allow, deny), state)
        for viewer_id, relationship in itertools.product((None, TARGET, VIEWER, 3), every_relationship()):
            asked = Question(viewer_id, target, relationship, NOW)
            met = see(viewer_id, target, relationship, NOW)
            assert (met is not None) == decide(asked, rules.TO_MEET).allowed
            for group in FieldGroup:
                assert met is None or met.allows(group) == decide_group(asked, group).allowed


def test_what_a_failing_rule_denied_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def explodes(_question: Question, _group: FieldGroup) -> Verdict:
        raise RuntimeError

    audiences = dict.fromkeys(FieldGroup, Audience.PUBLIC) | {FieldGroup.ACTIVITY: Audience.MUTUALS}
    target = person(PrivacyPolicy(audiences=audiences))
    with monkeypatch.context() as patched:
        patched.setattr(policies, "_REMEMBERED", {})
        patched.setattr(policies, "TO_SEE_GROUP", [explodes])
        met = see(VIEWER, target, Relationship(), NOW)
        assert met is not None
        assert not met.allows(FieldGroup.BIO)
        assert not policies._REMEMBERED
    met = see(VIEWER, target, Relationship(), NOW)
    assert met is not None
    assert met.allows(FieldGroup.BIO)
