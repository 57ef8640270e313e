"""Look-ups: who is asked for, and what of the figures shows to the viewer."""

from collections.abc import Sequence
from typing import Final

from domain.errors import InvalidInput, Overloaded
from domain.ids import NodeType
from domain.pages import MAX_PAGE
from domain.personal import NO_DETAILS, PersonalDetails
from domain.policies import FieldGroup
from domain.usernames import username_key
from domain.users import Counts
from privacy.policy import GROUP_BITS, Visible
from resolvers.context import NOBODY, Context
from resolvers.visibility import meet, meet_known, meet_one

_COUNTS: Final = GROUP_BITS[FieldGroup.COUNTS]
_NO_NAME: Final = ""
"""Looked up in the place of a text that cannot be a name: it takes the way and the time of one that nobody has."""


def recall_viewer(context: Context) -> list[Visible | None] | None:
    """Give the same as `fetch_viewer` at once, in a list; None where it is not remembered."""
    return meet_known(context, [context.viewer_id]) if context.viewer_id is not None else [None]


async def fetch_viewer(context: Context) -> Visible | None:
    """Give the viewer's own person; None for the anonymous."""
    return await meet_one(context, context.viewer_id) if context.viewer_id is not None else None


async def fetch_by_ids(context: Context, opaque_ids: Sequence[str]) -> list[Visible | None]:
    """Give people by id, in the order asked for; at most 100."""
    _check_number(opaque_ids)
    return await meet(context, context.user_ids(opaque_ids))


async def fetch_by_names(context: Context, usernames: Sequence[str]) -> list[Visible | None]:
    """Give people by name, in the order asked for; at most 100."""
    _check_number(usernames)
    keys = [username_key(name) or _NO_NAME for name in usernames]
    user_ids = await context.loaders.ids_by_name.load_many(keys)
    people = await meet(context, [user_id or NOBODY for user_id in user_ids])
    renamed = [at for at, person in enumerate(people) if person is not None and not person.user.has_name(keys[at])]
    if renamed:
        # A former name, which may still lead there, or one that is remembered from before: Redis has heard which.
        user_ids = await context.loaders.fetch_ids_anew([keys[at] for at in renamed])
        people_now = await meet(context, [user_id or NOBODY for user_id in user_ids])
        for at, person in zip(renamed, people_now, strict=True):
            people[at] = person
    return people


def recall_one(context: Context, *, username: str | None, opaque_id: str | None) -> list[Visible | None] | None:
    """Give the same as `fetch_one` at once, in a list; None where it is not remembered, or cannot be asked for."""
    if opaque_id is None:
        return _recall_by_name(context, username_key(username) or _NO_NAME) if username is not None else None
    return meet_known(context, context.user_ids([opaque_id])) if username is None else None


def _recall_by_name(context: Context, key: str) -> list[Visible | None] | None:
    user_ids = context.loaders.ids_by_name.recall([key])
    people = meet_known(context, [user_ids[0] or NOBODY]) if user_ids is not None else None
    return people if people is not None and (people[0] is None or people[0].user.has_name(key)) else None


async def fetch_one(context: Context, *, username: str | None, opaque_id: str | None) -> Visible | None:
    """Give one person by exactly one of name and id."""
    if (username is None) == (opaque_id is None):
        raise InvalidInput("Give exactly one of `username` and `id`.")
    if username is not None:
        [person] = await fetch_by_names(context, [username])
    else:
        [person] = await fetch_by_ids(context, [opaque_id or ""])
    return person


async def fetch_counts(context: Context, people: Sequence[Visible]) -> Sequence[Counts | None]:
    """Give what the viewer could count of each person's lists; None where the person hides it.

    The figure leaves out whom a block hides from this viewer: a count that differed from the list would tell of it.
    """
    known = recall_counts(context, people)
    if known is not None:
        return known
    open_ids = _open_to_count(people)
    return _placed(people, open_ids, await context.loaders.counts.load_many(open_ids))


def recall_counts(context: Context, people: Sequence[Visible]) -> Sequence[Counts | None] | None:
    """Give the same at once, or None where not all of it is known."""
    loaders = context.loaders
    counted, counts = loaders.counted
    if counted is people:
        return counts
    open_ids = _open_to_count(people)
    known = loaders.recall_counts(open_ids)
    if known is None:
        return None
    counts = known if len(open_ids) == len(people) else _placed(people, open_ids, known)
    loaders.counted = people, counts
    return counts


async def fetch_counts_if_possible(context: Context, people: Sequence[Visible], field: str) -> Sequence[Counts | None]:
    """Give the counts, or none at all where the service has too much to do; the answer then says so of `field`."""
    try:
        return await fetch_counts(context, people)
    except Overloaded:
        context.degraded.add(field)
        return [None] * len(people)


async def fetch_details(context: Context, people: Sequence[Visible], group: FieldGroup) -> list[PersonalDetails]:
    """Give the personal details of those who show a group of them to the viewer, and none of the others."""
    open_ids = [person.user.id for person in people if person.allows(group)]
    found = dict(zip(open_ids, await context.loaders.details.load_many(open_ids), strict=True))
    return [found.get(person.user.id, NO_DETAILS) for person in people]


def _open_to_count(people: Sequence[Visible]) -> list[int]:
    return [person.user.id for person in people if person.shown & _COUNTS]


def _placed(people: Sequence[Visible], open_ids: Sequence[int], counts: Sequence[Counts]) -> list[Counts | None]:
    by_id = dict(zip(open_ids, counts, strict=True))
    return [by_id.get(person.user.id) for person in people]


def is_user_id(context: Context, opaque_id: str) -> bool:
    """Tell whether an id has the type of a user."""
    return context.ids.decode(NodeType.USER, opaque_id) is not None


def _check_number(asked: Sequence[str]) -> None:
    if len(asked) > MAX_PAGE:
        raise InvalidInput(f"Ask for at most {MAX_PAGE} at once.")
