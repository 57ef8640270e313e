"""The small world that development starts with: people known by name, in every relation that matters."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Final

from domain.events import EventType
from domain.policies import DEFAULT_AUDIENCES, Audience, FieldGroup, PrivacyPolicy
from domain.transitions import Transition, block, follow
from domain.users import UserState
from storage.database import Database
from storage.departures import depart
from storage.pairs import change_pair
from storage.users import NewUser, create_user, fetch_ids_by_name

ABOUT: Final[Mapping[str, str]] = {
    "ana": "public",
    "bo": "private",
    "cy": "blocked by ana",
    "dee": "blocked ana",
    "eve": "member without relations",
    "star": "many followers",
    "gone": "deleted",
    "new": "just signed up",
}
"""The named people, and what is particular about each."""

FANS: Final = 120
_REPORT_EVERY: Final = 40

_PEOPLE: Final = (
    NewUser("ana", "Ana Reyes", bio="Trail runner and tea drinker.", pronouns="she/her", location="Lisbon"),
    NewUser(
        "bo",
        "Bo Lindqvist",
        bio="Only friends read this.",
        location="Malmö",
        policy=PrivacyPolicy(is_private=True, audiences={**DEFAULT_AUDIENCES, FieldGroup.COUNTS: Audience.FOLLOWERS}),
    ),
    NewUser("cy", "Cy Okafor", bio="Photographs of empty streets."),
    NewUser("dee", "Dee Martin", bio="Cellist."),
    NewUser("eve", "Eve Novak", bio="Reads more than she writes."),
    NewUser("star", "Star", bio="You may have heard of me."),
    NewUser("gone", "Gone"),
    NewUser("new"),
)


async def seed_named_world(database: Database, report: Callable[[str], None]) -> dict[str, int]:
    """Make whoever is missing of the named people and the fans of `star`; gives the ids of the named people.

    May be repeated: an interrupted seeding is continued, a finished one is left alone.
    """
    found = await fetch_ids_by_name(database, list(ABOUT))
    if "new" in found:
        return found  # whoever is missing has been purged
    report("Seeding the named world")
    found = await _create(database, found)
    await _relate(database, found)
    await _follow_star(database, found["star"], report)
    found["new"] = await _create_one(database, _PEOPLE[-1], 0)  # the last one: a world with `new` is complete
    return found


async def _create(database: Database, found: Mapping[str, int]) -> dict[str, int]:
    ids = dict(found)
    for number, person in enumerate(_PEOPLE[:-1]):
        if person.username not in ids:
            ids[person.username] = await _create_one(database, person, number)
    return ids


async def _create_one(database: Database, person: NewUser, number: int) -> int:
    cell = number % len(database.shards.cells)
    return await create_user(database, person, cell=cell, now=dt.datetime.now(dt.UTC))


async def _relate(database: Database, ids: Mapping[str, int]) -> None:
    await _act(database, ids["bo"], ids["ana"], follow(target_is_private=False))
    await _act(database, ids["ana"], ids["star"], follow(target_is_private=False))
    await _act(database, ids["ana"], ids["cy"], block(until=None))
    await _act(database, ids["dee"], ids["ana"], block(until=None))
    await depart(database, ids["gone"], UserState.DELETED, event=EventType.USER_DELETED)


async def _follow_star(database: Database, star: int, report: Callable[[str], None]) -> None:
    names = [f"fan{number:03d}" for number in range(1, FANS + 1)]
    found = await fetch_ids_by_name(database, names)
    for number, name in enumerate(names):
        fan = found.get(name) or await _create_one(database, NewUser(name, f"Fan {number + 1}"), number)
        await _act(database, fan, star, follow(target_is_private=False))
        if number % _REPORT_EVERY == 0:
            report(f"Seeding the named world: {number} of {FANS} fans of star")


async def _act(database: Database, actor: int, target: int, transition: Transition) -> None:
    await change_pair(database, actor, target, transition, dt.datetime.now(dt.UTC))
