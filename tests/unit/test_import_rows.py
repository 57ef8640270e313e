"""What a row of an import has to look like, and who of a batch is let in."""

import datetime as dt

import pytest

from domain.ids import cell_of, new_id
from domain.relationships import FollowState, Relationship
from storage.import_follows import merge_follows, newer, wanted_pair
from storage.import_people import Known, imported_id, plan_batch
from storage.import_rows import BadRow, FollowRow, Reject, UserRow, parse_follow, parse_user

NOW = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(days=1)


def test_a_whole_user_is_read() -> None:
    row = parse_user(
        7,
        {
            "id": "ext-1",
            "username": "Ana",
            "display_name": " Ana Re\u0301yes ",
            "bio": "one\r\ntwo",
            "avatar_url": "https://a.example/1.png",
            "pronouns": "",
            "created_at": "2024-05-01T14:00:00+02:00",
            "is_private": "TRUE",
        },
    )
    assert row == UserRow(
        7,
        "ext-1",
        "Ana",
        "ana",
        display_name="Ana R\u00e9yes",
        bio="one\ntwo",
        avatar_url="https://a.example/1.png",
        created_at=NOW,
        is_private=True,
    )


@pytest.mark.parametrize("text", ["2024-05-01T12:00:00Z", "2024-05-01T12:00", "20240501T120000", "2024-05-01 12:00"])
def test_a_date_without_an_offset_is_utc(text: str) -> None:
    assert parse_follow(2, {"follower_id": "1", "followee_id": "2", "followed_at": text}) == FollowRow(2, "1", "2", NOW)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": ""}, "missing id"),
        ({"id": "x" * 65}, "id is too long"),
        ({"id": "a\tb"}, "control character in id"),
        ({"username": ""}, "missing username"),
        ({"username": "a b"}, "invalid username"),
        ({"username": "an\u0000a"}, "control character in username"),
        ({"username": "Admin"}, "reserved username"),
        ({"display_name": "x" * 51}, "display_name is too long"),
        ({"display_name": "a\nb"}, "control character in display_name"),
        ({"bio": "x" * 501}, "bio is too long"),
        ({"bio": "a\u0007"}, "control character in bio"),
        ({"location": "a\u0000b"}, "control character in location"),
        ({"avatar_url": "http://a.example/"}, "avatar_url is not an https:// address"),
        ({"avatar_url": "https://[a"}, "avatar_url is not an https:// address"),
        ({"avatar_url": "https://a:99999/"}, "avatar_url is not an https:// address"),
        ({"created_at": "yesterday"}, "bad date in created_at"),
        ({"created_at": "1969-12-31"}, "bad date in created_at"),
        ({"created_at": "9999-12-31T23:59:59-14:00"}, "bad date in created_at"),
        ({"is_private": "yes"}, "bad boolean in is_private"),
    ],
)
def test_a_bad_user_is_refused_with_the_reason(change: dict[str, str], reason: str) -> None:
    with pytest.raises(BadRow) as bad:
        parse_user(2, {"id": "1", "username": "ana", **change})
    assert str(bad.value) == reason


def person(line: int, old_id: str, name: str) -> UserRow:
    return UserRow(line, old_id, name, name)


def test_the_first_row_of_an_id_and_of_a_name_counts() -> None:
    rows = [
        person(2, "1", "ana"),
        person(3, "1", "bo"),
        person(4, "2", "ana"),
        person(5, "2", "bo"),
        person(6, "3", "cy"),
    ]
    plan = plan_batch(rows, "now", {}, {"cy"})
    assert plan.claims == [rows[0], rows[3]]
    assert plan.rejects == [Reject(3, "duplicate id"), Reject(4, "username taken"), Reject(6, "username taken")]


def test_a_row_that_was_dealt_with_is_dealt_with_again_only_where_its_account_is_missing() -> None:
    known = {"1": Known(11, "now", 2, None), "2": Known(12, "now", 3, "bo"), "3": Known(13, "before", 9, None)}
    rows = [person(2, "1", "ana"), person(3, "2", "other"), person(4, "3", "cy"), person(5, "3", "cy")]
    plan = plan_batch(rows, "now", known, {"ana", "bo", "cy"})
    assert plan.claims == []
    assert plan.unwritten == [(12, person(3, "2", "other").__class__(3, "2", "bo", "other"))]
    assert plan.seen_again == [rows[2]]
    assert plan.rejects == [Reject(5, "duplicate id")]


def test_imported_ids_are_distinct_spread_evenly_and_never_those_of_a_sign_up() -> None:
    ids = [imported_id(number, 3) for number in range(20_000)]
    assert len(set(ids) | {imported_id(number, 7) for number in range(20_000, 40_000)}) == 40_000
    assert [cell_of(user_id) for user_id in ids[:6]] == [0, 1, 2, 0, 1, 2]
    assert max(ids) < new_id(0, at_ms=1_577_836_800_000 + 60_000)


def test_follows_are_added_to_a_pair_and_nothing_is_taken_away() -> None:
    both = wanted_pair(LATER, LATER)
    before = Relationship(follows=FollowState.ACTIVE, follows_at=NOW, followed_by=FollowState.PENDING, version=4)
    assert merge_follows(before, both) == Relationship(FollowState.ACTIVE, NOW, FollowState.ACTIVE, LATER, version=5)
    assert merge_follows(before, wanted_pair(LATER, None)) is before


@pytest.mark.parametrize("block", [{"blocks": True}, {"blocked_by": True}, {"blocks": True, "blocks_until": NOW}])
def test_a_block_stands_even_where_it_has_lapsed(block: dict[str, bool]) -> None:
    before = Relationship(**block, version=2)  # type: ignore[arg-type]
    assert merge_follows(before, wanted_pair(NOW, NOW)) is before


def test_a_side_only_goes_forward() -> None:
    old, new = Relationship(version=1), Relationship(blocks=True, version=2)
    assert newer(old, new) is new
    assert newer(new, old) is new
    assert newer(new, wanted_pair(NOW, None)) is new
