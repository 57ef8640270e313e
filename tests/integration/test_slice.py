"""One slice through resolvers, loaders and storage, on one cell and on two."""

from domain.errors import UserErrorCode
from domain.relationships import FollowState
from resolvers import blocks, follows, people
from tests.conftest import MakePerson


async def test_a_follow_shows_on_both_sides_and_in_both_counts(make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    outcome = await follows.follow(ana.context, bo.opaque_id)
    assert outcome.user is not None
    assert outcome.user.relationship.follows is FollowState.ACTIVE
    [seen] = await people.fetch_by_ids(bo.context, [ana.opaque_id])
    assert seen is not None
    assert seen.relationship.followed_by is FollowState.ACTIVE
    [ana_counts, bo_counts] = await people.fetch_counts(
        ana.context, [p for p in await people.fetch_by_ids(ana.context, [ana.opaque_id, bo.opaque_id]) if p]
    )
    assert ana_counts is not None
    assert bo_counts is not None
    assert (ana_counts.following, bo_counts.followers) == (1, 1)


async def test_a_block_hides_both_and_cuts_the_follow(make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    await follows.follow(ana.context, bo.opaque_id)
    outcome = await blocks.block(bo.context, ana.opaque_id, expires_at=None)
    assert outcome.user is not None
    assert outcome.user.viewer_has_blocked
    assert await people.fetch_by_ids(ana.context, [bo.opaque_id]) == [None]
    assert await people.fetch_by_names(bo.context, [ana.name]) == [None]
    again = await follows.follow(ana.context, bo.opaque_id)
    assert [error.code for error in again.user_errors] == [UserErrorCode.USER_UNAVAILABLE]
