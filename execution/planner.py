"""Compiles an operation into a plan, with graphql-core's own collection of fields.

So fragments, aliases, merging, type conditions, `@skip` and `@include` mean what they mean there.
"""

import dataclasses
import enum
from collections.abc import Iterator
from typing import Any, Final

from graphql import (
    ArgumentNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLID,
    GraphQLInt,
    GraphQLObjectType,
    GraphQLString,
    ListValueNode,
    ObjectValueNode,
    OperationType,
    ValueNode,
    VariableNode,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, collect_fields, collect_subfields
from graphql.execution.values import VariableValues, coerce_argument, get_argument_values

from execution.builder import leaf_serializer, make_build, serializer
from execution.plan import MAX_ENTRIES, Entry, Outline, Plan, Selection, Unplannable
from schema.fields import Attribute, Derived, Level
from schema.seam import NoSeam, Seam, read_seam

_CONDITIONS: Final = frozenset({"skip", "include"})
_AS_COERCED: Final = (GraphQLString, GraphQLID, GraphQLInt, GraphQLBoolean)
_IMMUTABLE: Final = (str, int, float, bool, type(None), enum.Enum)


@dataclasses.dataclass(frozen=True, slots=True)
class _Work:
    """A plan in the making, and the variables for which; the plan outlives them."""

    plan: Plan
    conditions: VariableValues


def compile_plan(outline: Outline, conditions: VariableValues) -> Plan:
    """Compile an operation.

    Raises:
        Unplannable: only graphql-core can run it.
    """
    work = _Work(Plan(outline), conditions)
    root = outline.schema.get_root_type(outline.operation.operation)
    if root is None or outline.operation.directives:
        raise Unplannable("operation")
    try:
        fields = _grouped(
            collect_fields(
                outline.schema, outline.fragments, conditions, root, outline.operation, hide_suggestions=True
            )
        )
    except RecursionError:
        raise Unplannable("size") from None
    if outline.operation.operation is OperationType.MUTATION:
        work.plan.roots = [_selection(work, root, {key: details}) for key, details in fields.items()]
    else:
        work.plan.roots = [_selection(work, root, fields)]
    work.plan.asks = any(selection.columns for selection in work.plan.roots)
    return work.plan


def _branch(work: _Work, entry: Entry, type_: GraphQLObjectType) -> None:
    """Compile what is selected of the objects of a type that a field leads to."""
    outline = work.plan.outline
    collected = collect_subfields(
        outline.schema,
        outline.fragments,
        work.conditions,
        outline.operation,
        type_,
        entry.details,
        hide_suggestions=True,
    )
    entry.branches[type_] = _selection(work, type_, _grouped(collected))


def _grouped(collected: CollectedFields) -> dict[str, FieldDetailsList]:
    if collected.new_defer_usages:
        raise Unplannable("directive")
    return collected.grouped_field_set


def _selection(work: _Work, type_: GraphQLObjectType, fields: dict[str, FieldDetailsList]) -> Selection:
    entries = [_entry(work, type_, key, details) for key, details in fields.items()]
    columns = [entry for entry in entries if not _is_inline(entry)]
    for place, entry in enumerate(columns):
        entry.column = place
    guards = [entry.guard for entry in entries if entry.guard is not None]
    return Selection(
        type=type_,
        entries=entries,
        columns=columns,
        branching=[entry for entry in columns if not entry.is_leaf],
        mask=guards[0].mask if guards else None,
        build=make_build(type_.name, entries),
    )


def _entry(work: _Work, parent: GraphQLObjectType, key: str, details: FieldDetailsList) -> Entry:
    work.plan.entries += 1
    if work.plan.entries > MAX_ENTRIES:
        raise Unplannable("size")
    node = details[0].node
    _check_shape(details)
    field = work.plan.outline.schema.get_field(parent, node.name.value)
    if field is None or node.name.value in ("__schema", "__type"):
        raise Unplannable("introspection")
    named, depth = _unwrap(field.type)
    entry = Entry(key=key, field=field, details=details, parent=parent, named=named, depth=depth)
    if node.name.value != "__typename":
        _read_seam(work, entry)
        _complete_entry(work, entry)
    return entry


def _check_shape(details: FieldDetailsList) -> None:
    for detail in details:
        if any(directive.name.value not in _CONDITIONS for directive in detail.node.directives or ()):
            raise Unplannable("directive")
        if detail.fragment_variable_values is not None:
            raise Unplannable("directive")


def _unwrap(type_: Any) -> tuple[Any, int]:
    depth = 0
    while is_non_null_type(type_) or is_list_type(type_):
        depth += is_list_type(type_)
        type_ = type_.of_type
    return type_, depth


def _read_seam(work: _Work, entry: Entry) -> None:
    try:
        seam = read_seam(work.plan.outline.schema, entry.field)
    except NoSeam:
        raise Unplannable("resolver") from None
    entry.source, entry.guard, entry.convert = seam.source, seam.guard, seam.convert
    entry.bit = seam.guard.bit if seam.guard is not None else 0
    _plain_arguments(entry, seam)
    if isinstance(entry.source, Level):
        entry.function = entry.source.function
    elif isinstance(entry.source, Attribute):
        entry.read = entry.source.reader()
    elif isinstance(entry.source, Derived):
        entry.read = entry.source.function


def _plain_arguments(entry: Entry, seam: Seam) -> None:
    """Note where arguments are constants, and variables whose values functions get as they were coerced."""
    node = entry.details[0].node
    given = {argument.name.value: argument for argument in node.arguments or ()}
    variables, constants = [], dict[str, Any]()
    try:
        for name, argument in entry.field.args.items():
            value = given[name].value if name in given else None
            if isinstance(value, VariableNode) and _is_as_coerced(argument):
                variables.append((seam.names[name], value.name.value, not is_non_null_type(argument.type)))
            elif value is None or not _variables(given[name]):
                coerce_argument(constants, node, name, argument, given.get(name), None, None, hide_suggestions=True)
            else:
                return
        converted = entry.convert(constants)
    except Exception:  # noqa: BLE001 - each request finds the error again, in its place
        return
    if all(isinstance(value, _IMMUTABLE) for value in converted.values()):
        entry.plain_variables, entry.constants = tuple(variables), converted


def _is_as_coerced(argument: GraphQLArgument) -> bool:
    """Tell whether a function gets the very values of a variable."""
    type_ = get_nullable_type(argument.type)
    if is_list_type(type_):
        type_ = get_nullable_type(type_.of_type)
    return type_ in _AS_COERCED and (is_non_null_type(argument.type) or argument.default_value is None)


def _is_inline(entry: Entry) -> bool:
    """Tell whether the generated function can read the field itself."""
    return entry.source is None or (isinstance(entry.source, Attribute) and entry.is_leaf and entry.depth == 0)


def _complete_entry(work: _Work, entry: Entry) -> None:
    entry.is_leaf = is_leaf_type(entry.named)
    entry.is_settled = entry.is_leaf and entry.depth == 0 and entry.function is not None
    entry.arguments = _constant_arguments(work, entry)
    if entry.is_leaf:
        entry.serialize = serializer(entry.type) if entry.depth else leaf_serializer(entry.named)
    elif is_abstract_type(entry.named):
        entry.asks_type = work.plan.traces = True
        for type_ in work.plan.outline.schema.get_possible_types(entry.named):
            _branch(work, entry, type_)
    else:
        is_type_of = entry.named.is_type_of
        entry.asks_type = is_type_of is not None and not hasattr(is_type_of, "source_class")
        work.plan.traces = work.plan.traces or entry.asks_type
        _branch(work, entry, entry.named)


def _constant_arguments(work: _Work, entry: Entry) -> dict[str, Any] | Exception | None:
    """Coerce once what each request would coerce to the same; not what a function could change under the next."""
    node = entry.details[0].node
    if not entry.field.args and not node.arguments:
        return {}
    if any(_variables(argument) for argument in node.arguments or ()):
        return None
    try:
        arguments = entry.convert(get_argument_values(entry.field, node, work.conditions, hide_suggestions=True))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the field's error in each request
        return error
    return arguments if all(isinstance(value, _IMMUTABLE) for value in arguments.values()) else None


def _variables(argument: ArgumentNode) -> list[VariableNode]:
    return [value for value in _values(argument.value) if isinstance(value, VariableNode)]


def _values(value: ValueNode) -> Iterator[ValueNode]:
    yield value
    if isinstance(value, ListValueNode):
        for item in value.values:
            yield from _values(item)
    elif isinstance(value, ObjectValueNode):
        for field in value.fields:
            yield from _values(field.value)
