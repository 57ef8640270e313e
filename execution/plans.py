"""Plans remembered: compiled when a document comes for the second time, bounded in number and size.

Compiling costs as much as running a plan a hundred times: whoever sends each document once must not make us do it.
"""

import collections
import dataclasses
from collections.abc import Hashable
from typing import Final

from graphql import (
    DirectiveNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.values import VariableValues

from execution.coercing import plain_variables
from execution.documents import MAX_REMEMBERED_CHARACTERS
from execution.plan import Outline, Plan, Unplannable
from execution.planner import compile_plan

MAX_OPERATIONS: Final = 1000
MAX_VARIANTS: Final = 8
"""How many combinations of values of the variables in `@skip` and `@include` are compiled of one operation."""
MAX_BYTES: Final = 64 * 1024 * 1024
BYTES_PER_ENTRY: Final = 3072
"""About what an entry of a plan holds, its part of the generated function included."""

NEW: Final = "new"
_CONDITIONS: Final = ("skip", "include")


@dataclasses.dataclass(slots=True, eq=False)
class Known:
    """One operation of a document that was seen, and its plans, or why it has none."""

    document: DocumentNode
    outline: Outline | None
    conditions: tuple[str, ...] = ()
    variants: dict[Hashable, Plan | str] = dataclasses.field(default_factory=dict)
    bytes: int = 0


class Plans:
    """Gives the plan of an operation, or the reason why graphql-core has to run it."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._known: collections.OrderedDict[tuple[int, str | None], Known] = collections.OrderedDict()
        self._bytes = 0

    def know(self, document: DocumentNode, operation_name: str | None) -> Known | None:
        """Give what is known of an operation; None for one that is met for the first time, or cannot be told."""
        key = (id(document), operation_name)
        known = self._known.get(key)
        if known is None:
            self._meet(key, document)
            return None
        self._known.move_to_end(key)
        if known.outline is None:
            known.outline = outline_of(self._schema, document, operation_name)
            known.conditions = _condition_variables(document)
        return known if known.outline is not None else None

    def find(self, known: Known, variables: VariableValues) -> Plan | str:
        """Give the plan for these values of the variables, compiled if need be, or the reason why there is none."""
        names = known.conditions
        key = tuple([variables.coerced.get(name, Undefined) for name in names]) if names else ()
        variant = known.variants.get(key)
        if isinstance(variant, Plan):
            return variant
        if variant is None and len(known.variants) >= MAX_VARIANTS:
            return "variants"
        if variant is None and known.variants:  # another variant is why the document is known
            known.variants[key] = NEW
            return NEW
        if variant is None or variant == NEW:
            variant = known.variants[key] = self._compile(known, variables)
        return variant

    def _compile(self, known: Known, variables: VariableValues) -> Plan | str:
        if known.outline is None:
            return "operation"
        try:
            plan = compile_plan(known.outline, variables)
        except Unplannable as reason:
            return str(reason)
        except GraphQLError:
            return "conditions"  # a value that `@skip` or `@include` cannot have: graphql-core tells where
        known.bytes += plan.entries * BYTES_PER_ENTRY
        self._bytes += plan.entries * BYTES_PER_ENTRY
        self._shrink()
        return plan

    def _meet(self, key: tuple[int, str | None], document: DocumentNode) -> None:
        if document.loc is None or document.loc.end > MAX_REMEMBERED_CHARACTERS:
            return  # it is parsed anew each time, and never met again
        self._known[key] = Known(document, None)
        self._shrink()

    def _shrink(self) -> None:
        while len(self._known) > MAX_OPERATIONS or (self._bytes > MAX_BYTES and len(self._known) > 1):
            _, oldest = self._known.popitem(last=False)
            self._bytes -= oldest.bytes


def outline_of(schema: GraphQLSchema, document: DocumentNode, operation_name: str | None) -> Outline | None:
    """Find the operation as graphql-core does; None where it answers that there is no such one."""
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    if operation_name is None:
        chosen = operations if len(operations) == 1 else []
    else:
        chosen = [each for each in operations if each.name is not None and each.name.value == operation_name]
    definitions = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    if not chosen or any(definition.variable_definitions for definition in definitions.values()):
        return None
    fragments = {name: FragmentDetails(definition) for name, definition in definitions.items()}
    return Outline(schema, chosen[-1], fragments, definitions, plain_variables(schema, chosen[-1]))


class _Conditions(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: object) -> None:
        if node.name.value in _CONDITIONS:
            values = [argument.value for argument in node.arguments or ()]
            self.names.update(value.name.value for value in values if isinstance(value, VariableNode))


def _condition_variables(document: DocumentNode) -> tuple[str, ...]:
    conditions = _Conditions()
    visit(document, conditions)
    return tuple(sorted(conditions.names))
