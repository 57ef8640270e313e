"""A schema of every nasty shape: null, errors, wrong types, awaitables and iterators wherever a field can give them.

Whatever a source gives depends on its number alone, so that both executors meet the same.
"""

import asyncio
import dataclasses
import datetime as dt
import enum
import functools
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import Annotated, Any

import strawberry

from domain.policies import FieldGroup
from privacy.policy import GROUP_BITS
from schema.fields import attribute, derived, level, of_class

MAX_NUMBER = 97


@strawberry.enum
class Color(enum.Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


@strawberry.input
class Filter:
    least: int = 0
    color: Color | None = None
    tags: list[str] | None = None
    inner: "Filter | None" = None


class Boom(Exception):
    """What the sources fail with."""


class Later:
    """Something to await that nobody misses when it is not awaited."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def chance(number: int, salt: int, sides: int) -> int:
    """Throw a die that always falls the same."""
    return (number * 2654435761 + salt * 40503) % 1000003 % sides


@dataclasses.dataclass(frozen=True)
class Source:
    """What every object is made of."""

    n: int

    @property
    def ident(self) -> object:
        return self.n if self.n % 2 else f"p{self.n}"

    @property
    def name(self) -> object:
        return None if chance(self.n, 1, 23) == 0 else f"name {self.n} “é"

    @property
    def nick(self) -> object:
        return [None, "nick", self.n, Boom("nick"), True, {"a": 1}][chance(self.n, 2, 6)]

    @property
    def age(self) -> object:
        return [None, 2**40, "7", 7.0, True, 7.5][chance(self.n, 3, 6)] if chance(self.n, 4, 5) == 0 else self.n

    @property
    def maybe_age(self) -> object:
        return [None, -(2**31), 2**31, "x", 3, 4][chance(self.n, 5, 6)]

    @property
    def ratio(self) -> object:
        return [1.5, 2, None, float("nan"), "0.5", float("inf")][chance(self.n, 6, 6)]

    @property
    def born(self) -> object:
        return [dt.date(2000, 1, 2), None, "yesterday"][chance(self.n, 7, 3)]

    @property
    def color(self) -> object:
        return [*Color, Color.RED, "red", "RED", 5][chance(self.n, 8, 7)]

    @property
    def colors(self) -> object:
        return [[Color.RED, None], (), [None, "?"], "red", {Color.BLUE}, (Color.GREEN for _ in range(2))][
            chance(self.n, 9, 6)
        ]

    @property
    def matrix(self) -> object:
        return [None, [[1, 2], None, [self.n]], [[1, None]], [3], [[]], [(1,), range(3)]][chance(self.n, 10, 6)]

    @property
    def words(self) -> object:
        return [["a", "b"], ["a", None], breaking(["a"]), 7, iter("ab"), None][chance(self.n, 11, 6)]

    @property
    def flag(self) -> object:
        return [True, False, None, 1, "yes"][chance(self.n, 12, 5)]

    @property
    def inner(self) -> object:
        return None if chance(self.n, 13, 4) == 0 else self

    @property
    def secret(self) -> object:
        return f"secret {self.n}" if self.n % 5 else Boom("secret")

    @property
    def raising(self) -> str:
        if chance(self.n, 14, 3) == 0:
            raise Boom(f"raising {self.n}")
        return "quiet"

    @property
    def late(self) -> object:
        return [Later("late"), Later(None), Later(Boom("late")), "early"][chance(self.n, 15, 4)]

    @property
    def late_words(self) -> object:
        return [[Later("a"), "b"], Later(["c"]), drip(["d", None]), drip(["e", Boom("drip")]), [Later(Boom("item"))]][
            chance(self.n, 16, 5)
        ]

    @property
    def late_friends(self) -> object:
        friend = person(self.n + 1)
        return [[Later(friend), friend, None], Later([friend]), drip([friend]), [Later(Boom("friend"))], (friend,)][
            chance(self.n, 17, 5)
        ]

    @property
    def shown(self) -> int:
        return sum(GROUP_BITS[group] for group in FieldGroup if self.allows(group))

    def allows(self, group: FieldGroup) -> bool:
        return chance(self.n, GROUP_BITS[group], 3) != 0


class PersonSource(Source):
    pass


class PetSource(Source):
    pass


class RockSource(Source):
    pass


def person(n: int) -> PersonSource:
    return PersonSource(abs(n) % MAX_NUMBER)


def breaking(items: Sequence[object]) -> Iterator[object]:
    yield from items
    raise Boom("breaking")


async def drip(items: Sequence[object]) -> AsyncIterator[object]:
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


@dataclasses.dataclass
class World:
    """What level functions get as their context: whether they wait, what they did, and how much more they may."""

    waits: int = 0
    log: list[object] = dataclasses.field(default_factory=list)
    budget: int = 400
    degraded: frozenset[str] = frozenset()


class TooMuch(Exception):
    """The operation is larger than a test needs."""


def one_by_one(answer: Callable[..., object]) -> Callable[..., Any]:
    """Make a level function of one that answers for one object; whether it waits, and how, is the world's choice."""

    @functools.wraps(answer)
    def answers(world: World, sources: Sequence[Any], **arguments: Any) -> Any:
        world.budget -= len(sources)
        if world.budget < 0:
            raise TooMuch
        found = [_caught(answer, source, arguments) for source in sources]
        return _given(found, world.waits and chance(len(answer.__name__), world.waits, 5))

    return answers


def _caught(answer: Callable[..., object], source: object, arguments: dict[str, Any]) -> object:
    try:
        return answer(None, source, **arguments)
    except Boom as error:
        return error


def _given(found: list[object], manner: int) -> object:
    async def at_once() -> list[object]:
        return found

    async def waiting() -> list[object]:
        for _ in range(manner):
            await asyncio.sleep(0)
        return found

    async def in_a_time_limit() -> list[object]:
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
            return found

    return [lambda: found, at_once, waiting, in_a_time_limit, waiting][manner]()


def give_friends(_: object, source: Source, *, first: int = 3) -> object:
    kind = chance(source.n, 20, 9)
    if kind < 3:
        return [Boom("friends"), None, "nobody"][kind]
    found = [person(source.n * 7 + at) if chance(source.n, 21 + at, 5) else None for at in range(abs(first) % 4)]
    return [found, tuple(found), iter(found), breaking(found), found, found][kind - 3]


def give_bestie(_: object, source: Source) -> object:
    return [person(source.n + 13), person(source.n + 5), None, Boom("bestie"), person(source.n)][
        chance(source.n, 30, 5)
    ]


def give_score(_: object, source: Source) -> object:
    return [None, Boom("score"), "9", source.n, source.n, source.n][chance(source.n, 31, 6)]


def give_grid(_: object, source: Source) -> object:
    rows = [[[person(source.n + 5), None], [], [person(source.n)]], [None], [[None], "row"], [[Boom("cell")]], None]
    return rows[chance(source.n, 32, 5)]


def give_things(_: object, source: Source) -> object:
    found = [person(source.n + 1), PetSource(source.n), RockSource(source.n), None, 17]
    return found[: chance(source.n, 33, 6)]


def give_nodes(_: object, source: Source) -> object:
    found = [PetSource(source.n), person(source.n + 3), person(source.n), PetSource(source.n + 1), RockSource(3), None]
    return found[: chance(source.n, 34, 7)]


def give_rocks(_: object, source: Source) -> object:
    return [RockSource(source.n + at) if at else None for at in range(source.n % 3)]


def give_echo(  # the arguments as they come
    _: object,
    source: Source,
    *,
    x: int = 3,
    names: list[str] | None = None,
    f: Filter | None = None,
    color: Color = Color.RED,
    must: bool | None = None,
) -> object:
    if x == 5:
        raise Boom("five")
    return f"{source.n} {x!r} {names!r} {f!r} {color!r} {must!r}"


def give_strict_echo(_: object, source: Source, *, x: int, f: Filter) -> object:
    return f"{source.n} {x} {f!r}"


@strawberry.interface
class Node:
    id: strawberry.ID


Thing = Annotated["Person | Pet | Rock", strawberry.union("Thing")]


@strawberry.type
class Person(Node):
    id: strawberry.ID = attribute("ident")
    n: int
    name: str
    nick: str | None
    age: int
    maybe_age: int | None
    ratio: float | None
    born: dt.date | None
    color: Color
    colors: list[Color | None]
    matrix: list[list[int] | None] | None
    words: list[str] | None
    flag: bool | None
    deep: str | None = attribute("inner.name")
    deeper: int = attribute("inner.inner.n")
    raising: str | None = attribute("raising")
    strict_raising: str = attribute("raising")
    secret: str | None = attribute("secret", group=FieldGroup.BIO)
    strict_secret: str = attribute("secret", group=FieldGroup.BIO)
    late: str | None
    strict_late: str = attribute("late")
    late_words: list[str | None] | None
    late_friends: list["Person | None"] | None
    itself: "Person" = derived(lambda source: source)
    upper: str | None = derived(lambda source: source.raising.upper())
    hidden_self: "Person | None" = derived(lambda source: source, group=FieldGroup.PROFILE)
    friends: list["Person | None"] | None = level(one_by_one(give_friends))
    strict_friends: list["Person"] = level(one_by_one(give_friends))
    hidden_friends: list["Person"] | None = level(one_by_one(give_friends), group=FieldGroup.LINKS)
    bestie: "Person | None" = level(one_by_one(give_bestie))
    strict_bestie: "Person" = level(one_by_one(give_bestie))
    hidden_bestie: "Person" = level(one_by_one(give_bestie), group=FieldGroup.EMAIL)
    score: int = level(one_by_one(give_score))
    maybe_score: int | None = level(one_by_one(give_score), group=FieldGroup.PHONE)
    grid: list[list["Person | None"]] | None = level(one_by_one(give_grid))
    things: list[Thing | None] | None = level(one_by_one(give_things))
    nodes: list[Node] | None = level(one_by_one(give_nodes))
    echo: str | None = level(one_by_one(give_echo))
    strict_echo: str = level(one_by_one(give_strict_echo))

    is_type_of = of_class(PersonSource)


@strawberry.type
class Pet(Node):
    id: strawberry.ID = attribute("ident")
    legs: int = attribute("age")
    owner: Person | None = level(one_by_one(give_bestie))

    @classmethod
    def is_type_of(cls, source: object, _info: Any) -> Any:
        if not isinstance(source, PetSource):
            return False
        if source.n % 7 == 0:
            raise Boom("which pet")
        return Later(True) if source.n % 5 == 0 else True


@strawberry.type
class Rock:
    weight: float | None = attribute("ratio")
    rocks: list["Rock | None"] = level(one_by_one(give_rocks))

    @classmethod
    def is_type_of(cls, source: object, _info: Any) -> bool:
        return isinstance(source, RockSource) and source.n % 11 != 0


def root_person(_: object, __: object, *, n: int = 4) -> object:
    return person(n)


def root_people(_: object, __: object, *, count: int = 3, f: Filter | None = None) -> object:
    return [person(at * 5 + 1 + (f.least if f else 0)) for at in range(abs(count) % 6)]


def root_node(_: object, __: object, *, key: strawberry.ID) -> object:
    return [person(len(key)), PetSource(len(key)), None, RockSource(1)][len(key) % 4]


def root_search(_: object, __: object, *, n: int = 2) -> object:
    return give_things(None, Source(n))


def root_rock(_: object, __: object) -> object:
    return RockSource(4)


@strawberry.type
class Query:
    person: Person | None = level(one_by_one(root_person))
    strict_person: Person = level(one_by_one(root_person))
    people: list[Person] = level(one_by_one(root_people))
    crowd: list[Person | None] | None = level(one_by_one(root_people))
    node: Node | None = level(one_by_one(root_node))
    search: list[Thing] | None = level(one_by_one(root_search))
    rock: Rock = level(one_by_one(root_rock))


async def do_add(world: World, _roots: Sequence[object], *, n: int) -> list[object]:
    """Write down when it begins and ends."""
    world.log.append(("begins", n))
    await asyncio.sleep(0)
    world.log.append(("ends", n))
    return [None if n % 4 == 0 else Boom("add") if n % 5 == 0 else person(n)]


def do_put(world: World, _roots: Sequence[object], *, n: int) -> list[object]:
    """Write down that it was called."""
    world.log.append(n)
    return [None if n % 4 == 0 else n]


@strawberry.type
class Mutation:
    add: Person | None = level(do_add)
    strict_add: Person = level(do_add)
    put: int | None = level(do_put)
    strict_put: int = level(do_put)


SCHEMA = strawberry.Schema(query=Query, mutation=Mutation, types=[Pet, Rock])
GRAPHQL = SCHEMA._schema
