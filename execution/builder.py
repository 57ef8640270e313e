"""The function that turns a level into its output: written for one selection, compiled, and free of error handling.

Client text enters the source only as `repr` of response keys, which the grammar keeps to names.
"""

import collections
import enum
from collections.abc import Callable, Sequence
from types import GeneratorType, NoneType
from typing import Any, Final

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLID,
    GraphQLInt,
    GraphQLString,
    Undefined,
    is_list_type,
    is_non_null_type,
)
from graphql.pyutils import UndefinedType, is_awaitable

from execution.plan import INLINE, Build, Entry, Leave
from schema.fields import Attribute

_OWN_CLASS: Final = {GraphQLString: "str", GraphQLID: "str", GraphQLBoolean: "bool", GraphQLInt: "int"}
"""Values of exactly this class are their own output (an Int within its bounds)."""
_NO_LEAF: Final = (NoneType, UndefinedType, Exception, GeneratorType)
_INT_BOUNDS: Final = "-2147483648 <= {x} <= 2147483647"


def serializer(type_: Any) -> Callable[[Any], Any]:
    """Make the function that completes a leaf value of a type, lists included; it raises at anything unexpected."""
    nullable = not is_non_null_type(type_)
    inner = type_ if nullable else type_.of_type
    complete = _serialize_list(inner.of_type) if is_list_type(inner) else leaf_serializer(inner)

    def serialize(value: Any) -> Any:
        if value is None or value is Undefined:
            if nullable:
                return None
            raise Leave
        return complete(value)

    return serialize


def leaf_serializer(type_: Any) -> Callable[[Any], Any]:
    """Make the function that completes a leaf value that is there; it raises at anything unexpected."""
    coerce = type_.coerce_output_value
    own_class = getattr(type_, "wrapped_cls", None) if isinstance(type_, GraphQLEnumType) else None
    names: dict[enum.Enum, Any] = {}
    plain: set[type] = set()  # classes met before, whose values are neither errors nor to be awaited

    def complete(value: Any) -> Any:
        if value.__class__ not in plain:
            if isinstance(value, _NO_LEAF) or is_awaitable(value):
                raise Leave
            plain.add(value.__class__)
        completed = coerce(value)
        if completed is None or completed is Undefined:
            raise Leave
        return completed

    def complete_member(value: Any) -> Any:
        if value.__class__ is not own_class:
            return complete(value)
        name = names.get(value)
        if name is None:
            name = names[value] = complete(value)
        return name

    return complete_member if own_class is not None else complete


def _serialize_list(item_type: Any) -> Callable[[Any], Any]:
    serialize = serializer(item_type)

    def complete(values: Any) -> Any:
        if values.__class__ is not list and values.__class__ is not tuple:
            raise Leave
        return [serialize(value) for value in values]

    return complete


def make_build(type_name: str, entries: Sequence[Entry]) -> Build:
    """Write and compile the function of a selection."""
    return _Source(type_name, entries).compile()


class _Source:
    """The source text of one function; `x3` is the value of the fourth entry."""

    def __init__(self, type_name: str, entries: Sequence[Entry]) -> None:
        self._type_name = type_name
        self._entries = entries
        self._names: dict[str, Any] = {"Leave": Leave}
        self._loop: dict[str, str] = {}
        """What the function goes through: each variable, and where its values are."""
        self._body: list[str] = []
        self._twins: dict[str, str] = {}
        """The variable of each field that is read here: once, whatever the number of its keys."""
        self._shared = self._shared_reads()

    def compile(self) -> Build:
        items = ", ".join(f"{entry.key!r}: {self._value(place, entry)}" for place, entry in enumerate(self._entries))
        if not self._loop:
            self._loop["_"] = "objects"
        names, sources = ", ".join(self._loop), ", ".join(self._loop.values())
        head = f"for {names} in zip({sources})" if len(self._loop) > 1 else f"for {names} in {sources}"
        if self._body:
            lines = [f"{head}:", *(f"    {line}" for line in self._body), f"    append({{{items}}})"]
            body = ["output = []", "append = output.append", *lines, "return output"]
        else:
            body = [f"return [{{{items}}} {head}]"]
        source = "\n    ".join(["def build(objects, columns, masks):", *body])
        exec(compile(source, f"<plan of {self._type_name}>", "exec"), self._names)  # noqa: S102 - the text is ours
        build: Build = self._names["build"]
        return build

    def _shared_reads(self) -> dict[str, str]:
        """Read what several attributes lead through once: `o.user` for `user.name` and `user.id`."""
        heads = collections.Counter(
            path.partition(".")[0] for path in map(_inline_path, self._entries) if path is not None and "." in path
        )
        shared = {head: f"o_{head}" for head, count in heads.items() if count > 1}
        self._body += [f"{name} = o.{head}" for head, name in shared.items()]
        return shared

    def _value(self, place: int, entry: Entry) -> str:
        if entry.source is None:
            return repr(self._type_name)
        x, path = f"x{place}", _inline_path(entry)
        if path is None:
            self._loop[x] = f"columns[{entry.column}]"
            if entry.is_leaf:
                self._body += self._checks(x, place, entry)
            return x
        twin = self._twins.setdefault(entry.name, x)
        if twin != x:
            return twin
        self._loop["o"] = "objects"
        lines = self._reads(x, place, entry, path)
        self._body += self._guarded(x, entry, lines) if entry.guard is not None else lines
        return x

    def _reads(self, x: str, place: int, entry: Entry, path: str) -> list[str]:
        head, _, rest = path.partition(".")
        read = f"{self._shared[head]}.{rest}" if rest and head in self._shared else f"o.{path}"
        member = entry.source.member if isinstance(entry.source, Attribute) else None
        if member is None:
            return [f"{x} = {read}", *self._checks(x, place, entry)]
        name = f"m{place}"
        self._names[name] = member
        return [f"{x} = {read} is {name}"]  # a bool, whatever it is

    def _guarded(self, x: str, entry: Entry, lines: Sequence[str]) -> list[str]:
        self._loop["mask"] = "masks"
        denied = "raise Leave" if is_non_null_type(entry.type) else f"{x} = None"
        return [f"if mask & {entry.bit}:", *(f"    {line}" for line in lines), f"else: {denied}"]

    def _checks(self, x: str, place: int, entry: Entry) -> list[str]:
        serialize = f"s{place}"
        self._names[serialize] = entry.serialize
        own = _OWN_CLASS.get(entry.named) if entry.depth == 0 else None
        unless_null = "" if is_non_null_type(entry.type) else f" and {x} is not None"
        if own is None:
            return [f"if {x} is not None: {x} = {serialize}({x})" if unless_null else f"{x} = {serialize}({x})"]
        is_own = f"{x}.__class__ is {own}"
        if own == "int":
            is_own = f"({is_own} and {_INT_BOUNDS.format(x=x)})"
            return [f"if not {is_own}{unless_null}: {x} = {serialize}({x})"]
        return [f"if {x}.__class__ is not {own}{unless_null}: {x} = {serialize}({x})"]


def _inline_path(entry: Entry) -> str | None:
    """Give the path of an attribute that the function reads itself."""
    return entry.source.path if entry.column == INLINE and isinstance(entry.source, Attribute) else None
