"""The gate: a person is `Visible` to the viewer, or does not exist."""

from collections.abc import Sequence

import msgspec

from domain.relationships import Relationship
from privacy.policy import Visible, see, see_all, see_own_block
from resolvers.context import Context


async def meet(context: Context, user_ids: Sequence[int]) -> list[Visible | None]:
    """Decide about many people at once: one load of profiles and one of relationships, whatever their number."""
    loaders = context.loaders
    people, relationships = loaders.recall_people(user_ids) or await loaders.fetch_people(user_ids)
    return see_all(context.viewer_id, people, relationships, context.now)


def meet_known(context: Context, user_ids: Sequence[int]) -> list[Visible | None] | None:
    """Decide the same at once; None where not all that it takes is remembered."""
    known = context.loaders.recall_people(user_ids)
    return see_all(context.viewer_id, *known, context.now) if known is not None else None


async def meet_one(context: Context, user_id: int) -> Visible | None:
    """Decide about one person."""
    [person] = await meet(context, [user_id])
    return person


def meet_after(context: Context, person: Visible, relationship: Relationship) -> Visible | None:
    """Decide about somebody whom the viewer met a moment ago, now that this is what they are to each other.

    Whoever blocks the person since is shown the stub with which that is managed. The rest is as it was when the viewer
    met the person: what others change meanwhile, they change while this goes on. What the viewer mutes is as it was.
    """
    if context.viewer_id is None:
        return None
    muted = person.relationship
    pair = msgspec.structs.replace(relationship, mutes=muted.mutes, mutes_until=muted.mutes_until)
    seen = see(context.viewer_id, person.user, pair, context.now)
    return seen or see_own_block(context.viewer_id, person.user, pair, context.now)


async def meet_own_blocks(context: Context, user_ids: Sequence[int]) -> list[Visible | None]:
    """Show those whom the viewer blocks, as the stubs with which blocks are managed; nobody else."""
    if context.viewer_id is None:
        return [None] * len(user_ids)
    people, relationships = await context.loaders.fetch_people(user_ids)
    return [
        see_own_block(context.viewer_id, person, relationship, context.now) if person is not None else None
        for person, relationship in zip(people, relationships, strict=True)
    ]


async def fetch_known(context: Context, user_ids: Sequence[int]) -> list[int]:
    """Give those of some people whom the viewer may meet, or blocks: whom the viewer can know to be there."""
    met, blocked = await meet(context, user_ids), await meet_own_blocks(context, user_ids)
    return [
        user_id
        for user_id, person, stub in zip(user_ids, met, blocked, strict=True)
        if person is not None or stub is not None
    ]
