"""Creating people: names are unique, and an id that is taken by chance is tried again."""

import asyncio
import datetime as dt

import pytest

from domain.ids import new_id
from storage import users
from storage.database import Database
from storage.names import UsernameTaken
from storage.users import NewUser, create_user, fetch_users
from tests.conftest import MakePerson


async def test_an_id_that_is_taken_by_chance_is_tried_again(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await make_person(cell=0)
    ids = iter([first.id, first.id, new_id(0)])
    monkeypatch.setattr(users, "new_id", lambda _cell: next(ids))
    second = await create_user(database, NewUser(f"{first.name}x"), cell=0, now=dt.datetime.now(dt.UTC))
    assert second != first.id
    assert set(await fetch_users(database, [first.id, second])) == {first.id, second}


async def test_one_of_many_who_want_a_name_at_once_gets_it(database: Database, make_person: MakePerson) -> None:
    name = f"{(await make_person()).name}y"
    cells = len(database.shards.cells)
    attempts = [
        create_user(database, NewUser(name.upper() if n % 2 else name), cell=n % cells, now=dt.datetime.now(dt.UTC))
        for n in range(10)
    ]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, int) for result in results) == 1
    assert sum(isinstance(result, UsernameTaken) for result in results) == 9
