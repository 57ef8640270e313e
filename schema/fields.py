"""How a field is made: read off the object, or answered for a whole level at once; and who may see it.

A level is all objects of one type at one place of the response. What loads is a function of (context, parents,
arguments) that answers for all of them; `level` makes it a Strawberry field, and a query plan calls the same function,
which it finds in the field's metadata under `SOURCE`.
"""

import dataclasses
import enum
import functools
import inspect
import operator
import typing
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import strawberry
from aiodataloader import DataLoader
from strawberry.extensions import FieldExtension
from strawberry.types import Info

from domain.policies import FieldGroup
from domain.repeats import current_effects
from domain.scopes import Scope
from privacy.policy import GROUP_BITS, Visible
from resolvers.context import Context
from schema.costs import Cost, Credential, ListSize

LevelFunction = Callable[..., Sequence[Any] | Awaitable[Sequence[Any]]]
"""(context, parents, **arguments) to the answers, one per parent and in their order; awaited where it has to wait."""

SOURCE: Final = "source"
"""The key of a field's metadata under which its `Source` lies."""

_MAX_LEVEL: Final = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Attribute:
    """A value that is read off the object; dots lead inside. With a `member`: whether it is that very one."""

    path: str
    member: enum.Enum | None = None

    def reader(self) -> Callable[[Any], Any]:
        """Make what reads it off one object."""
        read, member = operator.attrgetter(self.path), self.member
        return read if member is None else lambda source: read(source) is member


@dataclasses.dataclass(frozen=True, slots=True)
class Derived:
    """A value that is computed from the object alone."""

    function: Callable[[Any], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """Values that are answered for a whole level at once."""

    function: LevelFunction


Source = Attribute | Derived | Level


class Levels:
    """Gathers the objects of a level, for an executor that comes to them one by one."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, LevelFunction], DataLoader[Any, Any]] = {}

    def load(self, function: LevelFunction, parent: object, info: Info[Any, Any], arguments: dict[str, Any]) -> Any:
        """Give a future of one object's answer.

        The same node of the document always has the same arguments, so that it tells one level's field from another.
        """
        context: Context = info.context.app

        async def answer(parents: list[object]) -> list[Any]:
            answers = function(context, parents, **arguments)
            return list(await answers if isinstance(answers, Awaitable) else answers)

        key = (id(info._raw_info.field_nodes[0]), function)  # noqa: SLF001 - the public list is converted anew each time
        if key not in self._waiting:
            self._waiting[key] = DataLoader(answer, cache=False, max_batch_size=_MAX_LEVEL)
        return self._waiting[key].load(parent)


class OperationContext(msgspec.Struct, eq=False):
    """What the executor hands to each field."""

    app: Context
    _levels: Levels | None = None

    @property
    def levels(self) -> Levels:
        """Give the levels of this operation."""
        if self._levels is None:
            self._levels = Levels()
        return self._levels


class Protected(FieldExtension):
    """Shows a field of a person only to whom the person's policy shows its group; to others it is null.

    The facts came with the person through the gate, one load for the whole level: deciding costs no I/O.
    """

    def __init__(self, group: FieldGroup) -> None:
        self.group = group
        self.bit = GROUP_BITS[group]

    mask: Final[Callable[[Visible], int]] = operator.attrgetter("shown")
    """Gives the bits of the groups that show of a person."""

    def resolve(self, next_: Callable[..., Any], source: Visible, info: Info[Any, Any], **arguments: Any) -> Any:
        """Answer null, or what the field has to say."""
        return next_(source, info, **arguments) if source.allows(self.group) else None


def attribute(
    path: str,
    *,
    member: enum.Enum | None = None,
    group: FieldGroup | None = None,
    description: str | None = None,
    size: ListSize | None = None,
) -> Any:
    """Make a field that is read off the object; dots lead inside. With a `member`: whether it is that very one."""
    source = Attribute(path, member)
    read = source.reader()

    def resolve(root: Any) -> Any:
        return read(root)

    return _field(resolve, source, [], group, description, directives=_directives(size))


def column(path: str, function: LevelFunction) -> Any:
    """Make a field that is read off the object, or, with less effort, off a whole level by a function of it."""
    read = operator.attrgetter(path)

    def resolve(root: Any) -> Any:
        return read(root)

    return _field(resolve, Level(function), [], None, inspect.getdoc(function), directives=())


def derived(
    function: Callable[[Any], object], *, group: FieldGroup | None = None, description: str | None = None
) -> Any:
    """Make a field that is computed from the object alone."""

    def resolve(root: Any) -> Any:
        return function(root)

    return _field(resolve, Derived(function), [], group, description, directives=())


def root(
    scope: Scope, function: LevelFunction, *, size: ListSize | None = None, credential: Credential | None = None
) -> Any:
    """Make a root field: of a function that answers for a level, where the caller's token is for this scope."""

    @functools.wraps(function)
    def within_scope(context: Context, parents: Sequence[object], **arguments: Any) -> Any:
        context.require(scope)
        return function(context, parents, **arguments)

    within_scope.scope = scope  # type: ignore[attr-defined] # functions may carry one
    return level(within_scope, size=size, credential=credential)


def mutation(
    scope: Scope, function: LevelFunction, *, size: ListSize | None = None, credential: Credential | None = None
) -> Any:
    """Make a root field that changes something, and whose effects are told from those of the others of its request."""

    @functools.wraps(function)
    def in_its_turn(context: Context, parents: Sequence[object], **arguments: Any) -> Any:
        effects = current_effects()
        if effects is not None:
            effects.begin_field()
        return function(context, parents, **arguments)

    return root(scope, in_its_turn, size=size, credential=credential)


def level(
    function: LevelFunction,
    *,
    group: FieldGroup | None = None,
    description: str | None = None,
    size: ListSize | None = None,
    cost: Cost | None = None,
    credential: Credential | None = None,
) -> Any:
    """Make a field of a function that answers for a whole level; its keyword-only parameters are the arguments."""

    def resolve(root: Any, info: Info[Any, Any], **arguments: Any) -> Any:
        return info.context.levels.load(function, root, info, arguments)

    text, directives = description or inspect.getdoc(function), _directives(cost, size, credential)
    return _field(resolve, Level(function), _arguments(function), group, text, directives=directives)


def of_class(source_class: type) -> Callable[[object, Any], bool]:
    """Make the `is_type_of` of a type all of whose sources are of one class, which a plan need ask once a class."""

    def is_type_of(source: object, _info: Any) -> bool:
        return isinstance(source, source_class)

    is_type_of.source_class = source_class  # type: ignore[attr-defined] # functions may carry one
    return is_type_of


def _field(
    resolve: Callable[..., Any],
    source: Source,
    arguments: Sequence[inspect.Parameter],
    group: FieldGroup | None,
    description: str | None,
    *,
    directives: Sequence[object],
) -> Any:
    """Leave the return type to the annotation of the class attribute, and show Strawberry the real arguments."""
    own = [
        parameter
        for parameter in inspect.signature(resolve).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    resolve.__annotations__ = {}
    resolve.__signature__ = inspect.Signature([*own, *arguments])  # type: ignore[attr-defined] # functions may carry one
    extensions: list[FieldExtension] = [Protected(group)] if group is not None else []
    return strawberry.field(
        resolver=resolve,
        extensions=extensions,
        description=description,
        metadata={SOURCE: source},
        directives=directives,
    )


def _directives(*given: object) -> list[object]:
    return [directive for directive in given if directive is not None]


def _arguments(function: LevelFunction) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(function, include_extras=True)
    return [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
