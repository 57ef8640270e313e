"""The doors: one request for each way from a root to a first person, with everything selected that lies behind."""

import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema, get_named_type, is_abstract_type

from tests.proof.leaks.cases import ABOUT_NAMES, CASES, Arguments, Case
from tests.proof.leaks.paths import PERSON, Edge, Path, Walker, is_plain, naming_arguments, needs_arguments
from tests.proof.leaks.service import Answer, Asker
from tests.proof.leaks.worlds import TARGETS, World
from transport.rest import ROUTES, Route


class CaseMissing(Exception):
    """A path to a person, or an argument that names one, has no case in `cases.py`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """One thing that a viewer can try; `paths` are those whose people the answer holds."""

    label: str
    paths: tuple[Path, ...]
    ask: Callable[[World, Asker], Awaitable[list[Answer]]]
    aimed: bool = False
    writes: bool = False
    mutates: bool = False
    own: bool = False
    """Whether only a signed-in viewer can try."""
    counted: bool = False
    """Whether its statements are always as many: what loads many lists at once joins what happens to come together."""


def missing_cases(schema: GraphQLSchema, cases: Mapping[str, Case] = CASES) -> list[str]:
    """Name what has no case: edges on paths, fields that cannot be asked without arguments, arguments that name."""
    walker = Walker(schema, nested=1)
    needed = {str(edge) for edge in walker.edges() | walker.doors()} | set(_demanding(schema))
    arguments = {
        name
        for name in set(naming_arguments(schema)) - ABOUT_NAMES
        if not any(aim.partition(" ")[0] == _argument(name) for aim in _aims(cases, name))
    }
    return sorted((needed - cases.keys()) | arguments)


def stale_cases(schema: GraphQLSchema) -> list[str]:
    """Name the cases of what the schema no longer has."""
    types = schema.type_map
    known = {f"{k.name}.{name}" for k in types.values() if isinstance(k, GraphQLObjectType) for name in k.fields}
    return sorted(CASES.keys() - known)


def _demanding(schema: GraphQLSchema) -> Iterator[str]:
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            yield from (f"{kind.name}.{name}" for name, field in kind.fields.items() if needs_arguments(field))


def _argument(name: str) -> str:
    return name.partition("(")[2].removesuffix(")")


def _aims(cases: Mapping[str, Case], name: str) -> Sequence[str]:
    case = cases.get(name.partition("(")[0])
    return list(case.aimed) if case is not None else []


class Doors:
    """Writes the documents of all doors of a schema."""

    def __init__(self, schema: GraphQLSchema, *, nested: int = 1) -> None:
        if missing := missing_cases(schema):
            raise CaseMissing(", ".join(missing))
        self._schema = schema
        self._walker = Walker(schema, nested=nested)
        self._nested = nested
        self.paths = self._walker.paths()

    def all(self, *, while_blocking: bool) -> list[Door]:
        """Give every door; `while_blocking` adds those that change nothing only where the viewer blocks somebody."""
        return [door for chain in self._chains() for door in self._of_chain(chain, while_blocking=while_blocking)]

    def _chains(self) -> list[tuple[Edge, ...]]:
        """Give the ways to a first person, and to whatever else asks about one."""
        people = [path.edges for path in Walker(self._schema, nested=0).paths()]
        asking = [
            (*chain[:-1], Edge(owner, name))
            for owner, name in (key.split(".") for key in CASES)
            for chain in people
            if owner == chain[-1].owner and not self._walker.leads(self._field(Edge(owner, name)))
        ]
        return [*people, *dict.fromkeys(asking)]

    def _of_chain(self, chain: tuple[Edge, ...], *, while_blocking: bool) -> Iterator[Door]:
        choices = [_choices(CASES[str(edge)], while_blocking=while_blocking) for edge in chain]
        paths = tuple(path for path in self.paths if path.edges[: len(chain)] == chain)
        root = chain[0].owner
        for choice in itertools.product(*choices):
            names = [name for name, _ in choice if name]
            label = " > ".join(map(str, chain)) + (f" [{', '.join(names)}]" if names else "")
            aimed = any(not name.startswith("around") for name in names)
            yield Door(
                label,
                paths,
                _asking(self._document(chain, [arguments for _, arguments in choice]), root),
                aimed=aimed,
                counted=aimed,
                writes=aimed and any(CASES[str(edge)].writes for edge in chain),
                mutates=root == "Mutation",
                own=root != "Query" or str(chain[0]) in ("Query.me", "Query.viewer"),
            )

    def _document(self, chain: Sequence[Edge], arguments: Sequence[Arguments]) -> Callable[[World], str]:
        root = self._schema.get_type(chain[0].owner)
        operation = {"Query": "query", "Mutation": "mutation", "Subscription": "subscription"}[chain[0].owner]
        assert isinstance(root, GraphQLObjectType)

        def written(world: World) -> str:
            body = self._along(chain, [argument(world) for argument in arguments], world)
            person = self._schema.get_type(PERSON)
            assert isinstance(person, GraphQLObjectType)
            text = f"{operation} {{ {body} }}"
            return f"{text} fragment P on {PERSON} {{ {self._plain(person)} }}" if "...P" in text else text

        return written

    def _along(self, chain: Sequence[Edge], arguments: Sequence[str], world: World) -> str:
        edge, field = chain[0], self._field(chain[0])
        if len(chain) > 1:
            [kind] = [kind for kind in self._walker.kinds(field) if kind.name == chain[1].owner]
            figures = self._plain(kind) if self._is_first(kind, chain[1]) else ""
            inside = f"{figures} {self._along(chain[1:], arguments[1:], world)}"
            if is_abstract_type(get_named_type(field.type)):
                inside = f"... on {kind.name} {{ {inside} }}"
        else:
            inside = self._behind(field, world, self._nested)
        return f"{edge.field}{arguments[0]} {{ {inside} }}"

    def _is_first(self, kind: GraphQLObjectType, edge: Edge) -> bool:
        """Tell whether an edge is the first of its object's: with that one, the object's own figures are asked for."""
        first: str = next(name for name, field in kind.fields.items() if self._walker.leads(field))
        return edge.field == first

    def _behind(self, field: GraphQLField, world: World, left: int) -> str:
        """Select everything behind a field; of other people, those of `left` more lists."""
        selections = [self._everything(kind, world, left) for kind in self._walker.kinds(field)]
        if not is_abstract_type(get_named_type(field.type)):
            return selections[0]
        spread = (
            f"... on {kind.name} {{ {text} }}" for kind, text in zip(self._walker.kinds(field), selections, strict=True)
        )
        return f"__typename {' '.join(spread)}"

    def _everything(self, kind: GraphQLObjectType, world: World, left: int) -> str:
        if kind.name == PERSON:
            return "...P " + (self._leading(kind, world, left - 1) if left else "")
        return f"{self._plain(kind)} {self._leading(kind, world, left)}"

    def _leading(self, kind: GraphQLObjectType, world: World, left: int) -> str:
        return " ".join(
            f"{name}{CASES[f'{kind.name}.{name}'].around[0](world)} {{ {self._behind(field, world, left)} }}"
            for name, field in kind.fields.items()
            if self._walker.leads(field)
        )

    def _plain(self, kind: GraphQLObjectType) -> str:
        """Select whatever of an object needs no arguments and leads to nobody; pages are lists of their own."""
        selected = ["__typename"]
        for name, field in kind.fields.items():
            if is_plain(field):
                selected.append(name)
            elif not needs_arguments(field) and "first" not in field.args and not self._walker.leads(field):
                inside = " ".join(
                    f"... on {inner.name} {{ {self._plain(inner)} }}" for inner in self._walker.kinds(field)
                )
                selected.append(f"{name} {{ {inside} }}")
        return " ".join(selected)

    def _field(self, edge: Edge) -> GraphQLField:
        owner = self._schema.get_type(edge.owner)
        assert isinstance(owner, GraphQLObjectType)
        field: GraphQLField = owner.fields[edge.field]
        return field


def _choices(case: Case, *, while_blocking: bool) -> list[tuple[str, Arguments]]:
    around = [*case.around, *(case.around_while_blocking if while_blocking else ())]
    names = [""] if len(around) == 1 and not case.aimed else [f"around {number}" for number in range(len(around))]
    return [*case.aimed.items(), *zip(names, around, strict=True)]


def _asking(document: Callable[[World], str], root: str) -> Callable[[World, Asker], Awaitable[list[Answer]]]:
    async def ask(world: World, asker: Asker) -> list[Answer]:
        text = document(world)
        return [await (asker.listen(text) if root == "Subscription" else asker.post(text))]

    return ask


_WALKED: Final = """
{ %s { %s(%s) { totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  edges { cursor followedAt node { id username } } } } }
"""
_TOLD: Final = """
{ %s { unreadNotificationsCount %s(%s) { pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  edges { cursor node { id cursor createdAt readAt actor { id } } group { id kind count unreadCount } } } } }
"""
MOST_PAGES: Final = 15


def walks(sizes: Sequence[int]) -> list[Door]:
    """Give the doors that read lists page by page, in both directions and both orders."""
    public = itertools.product(("ana", "star"), ("followers", "following", "mutualFollowers"), sizes, _WAYS)
    own = itertools.product(("followers", "following"), sizes, _WAYS)
    mine = itertools.product(("blocks", "mutes", "followRequests", "sentFollowRequests"), sizes, _WAYS[:2])
    return [
        *(_walk(owner, name, size, way, own=False) for owner, name, size, way in public),
        *(_walk("me", name, size, way, own=True) for name, size, way in own),
        *(_walk("viewer", name, size, way, own=True) for name, size, way in mine),
        *(_walk("viewer", "notifications", size, way, own=True) for size in sizes for way in _WAYS[:2]),
    ]


def rest_doors() -> list[Door]:
    """Give the doors of REST that name a person, each aimed at a target."""
    return [_rest(route) for route in ROUTES if "{" in route.path]


def _rest(route: Route) -> Door:
    async def ask(world: World, asker: Asker) -> list[Answer]:
        target = world[TARGETS[0]]
        return [await asker.send(route.method, route.path.format(username=target.name, id=target.opaque_id))]

    changes = route.is_mutation
    label = f"{route.method} {route.path}"
    return Door(label, (), ask, aimed=True, counted=True, writes=changes, mutates=changes, own=changes)


_WAYS: Final = (
    ("first", "after", ""),
    ("last", "before", ""),
    ("first", "after", "OLDEST_FIRST"),
    ("last", "before", "OLDEST_FIRST"),
)


def _walk(owner: str, name: str, size: int, way: tuple[str, str, str], *, own: bool) -> Door:
    number, cursor, order = way
    document = _TOLD if name == "notifications" else _WALKED

    async def ask(world: World, asker: Asker) -> list[Answer]:
        root = owner if own else f'user(id: "{world[owner].opaque_id}")'
        answers: list[Answer] = []
        at = None
        while len(answers) < MOST_PAGES:
            arguments = f"{number}: {size}" + (f' {cursor}: "{at}"' if at else "")
            arguments += f" orderBy: {order}" if order else ""
            answers.append(await asker.post(document % (root, name, arguments)))
            found = (answers[-1].data.get("data") or {}).get("me" if owner == "me" else "viewer" if own else "user")
            info: Any = ((found or {}).get(name) or {}).get("pageInfo") or {}
            more, at = (
                (info.get("hasNextPage"), info.get("endCursor"))
                if number == "first"
                else (info.get("hasPreviousPage"), info.get("startCursor"))
            )
            if not more:
                break
        return answers

    label = f"pages of {owner}.{name} ({number} {size}{' ' + order if order else ''})"
    return Door(label, (), ask, own=own, counted=True)
