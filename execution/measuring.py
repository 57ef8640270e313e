"""How large the operations of a document are, in one pass that looks at each fragment once."""

import dataclasses
from collections.abc import Mapping
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
)

from domain.pages import MAX_PAGE
from execution.costs import WEIGHTLESS, Formula, Weight, weigh
from schema.costs import OBJECT_WEIGHT, FieldCost, FieldCosts

_PAGE_ARGUMENTS: Final = ("first", "last")
_UNKNOWN: Final = FieldCost(
    weight=OBJECT_WEIGHT,
    inner=None,
    is_list=False,
    is_node=False,
    assumed=None,
    slicing=(),
    sizes_inner=False,
    is_credential=False,
)
_LEAF: Final = dataclasses.replace(_UNKNOWN, weight=0)


class PageOutOfBounds(Exception):
    """A page is asked for that there cannot be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """How large a selection is once its fragments are spread: levels, aliases, root fields, and what it costs.

    `expanded` counts the fields of all levels and `directives` what stands at them, as often as they are spread.
    """

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    expanded: int = 0
    directives: int = 0
    credentials: int = 0
    weight: Weight = WEIGHTLESS

    def under(self, node: OperationDefinitionNode | FragmentDefinitionNode | SelectionNode) -> "Measure":
        """Add the directives that stand at a node itself."""
        own = len(node.directives or ())
        if not own:
            return self
        weight = self.weight.under(node) if isinstance(node, SelectionNode) else self.weight
        return dataclasses.replace(self, directives=self.directives + own, weight=weight)

    @property
    def formula(self) -> Formula:
        """Give what an operation of this size costs."""
        return self.weight.whole

    @staticmethod
    def total(measures: "list[Measure]") -> "Measure":
        """Measure all of them side by side."""
        return Measure(
            max((each.depth for each in measures), default=0),
            sum(each.aliases for each in measures),
            sum(each.fields for each in measures),
            sum(each.expanded for each in measures),
            sum(each.directives for each in measures),
            sum(each.credentials for each in measures),
            Weight.total([each.weight for each in measures]),
        )


def measure(
    document: DocumentNode, schema: GraphQLSchema, costs: FieldCosts
) -> list[tuple[OperationDefinitionNode, Measure]]:
    """Measure each operation of a valid document.

    Raises:
        PageOutOfBounds: it asks for a page that there cannot be.
    """
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    ruler = _Ruler(schema, costs, fragments)
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    return [(operation, ruler.measure_operation(operation)) for operation in operations]


class _Ruler:
    def __init__(
        self, schema: GraphQLSchema, costs: FieldCosts, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> None:
        self._schema = schema
        self._costs = costs
        self._fragments = fragments
        self._measured: dict[str, Measure] = {}

    def measure_operation(self, operation: OperationDefinitionNode) -> Measure:
        root = self._schema.get_root_type(operation.operation)
        return self._measure(operation.selection_set, root).under(operation)

    def _measure(self, selection_set: SelectionSetNode, parent: GraphQLNamedType | None) -> Measure:
        return Measure.total([self._measure_selection(each, parent).under(each) for each in selection_set.selections])

    def _measure_selection(self, selection: SelectionNode, parent: GraphQLNamedType | None) -> Measure:
        if isinstance(selection, FragmentSpreadNode):
            return self._measure_fragment(selection.name.value)
        if isinstance(selection, InlineFragmentNode):
            condition = selection.type_condition
            inner = parent if condition is None else self._schema.get_type(condition.name.value)
            return self._measure(selection.selection_set, inner)
        return self._measure_field(selection, parent) if isinstance(selection, FieldNode) else Measure()

    def _measure_fragment(self, name: str) -> Measure:
        if name not in self._measured:
            fragment = self._fragments[name]
            inner = self._schema.get_type(fragment.type_condition.name.value)
            self._measured[name] = self._measure(fragment.selection_set, inner).under(fragment)
        return self._measured[name]

    def _measure_field(self, field: FieldNode, parent: GraphQLNamedType | None) -> Measure:
        aliases = 1 if field.alias is not None else 0
        cost = self._costs.get((parent.name, field.name.value)) if parent is not None else None
        if field.selection_set is None or field.name.value.startswith("__"):  # introspection has its own limit
            cost = cost or (_LEAF if field.selection_set is None else _UNKNOWN)
            return Measure(1, aliases, 1, 1, credentials=int(cost.is_credential), weight=weigh(field, cost, WEIGHTLESS))
        cost = cost or _UNKNOWN
        _check_page(field)
        inside = self._measure(field.selection_set, cost.inner)
        return Measure(
            depth=inside.depth + 1,
            aliases=inside.aliases + aliases,
            fields=1,
            expanded=inside.expanded + 1,
            directives=inside.directives,
            credentials=inside.credentials + cost.is_credential,
            weight=weigh(field, cost, inside.weight),
        )


def _check_page(field: FieldNode) -> None:
    """Refuse pages that there cannot be; what variables say is looked at when they are known."""
    pages = [argument.value for argument in field.arguments or () if argument.name.value in _PAGE_ARGUMENTS]
    numbers = [value for value in pages if isinstance(value, IntValueNode)]
    if len(numbers) > 1 and len(numbers) == len(pages):
        raise PageOutOfBounds("Give exactly one of `first` and `last`.")
    if not all(map(_is_page_size, numbers)):
        raise PageOutOfBounds(f"A page has 1 to {MAX_PAGE} entries.")


def _is_page_size(value: ValueNode) -> bool:
    return isinstance(value, IntValueNode) and 1 <= int(value.value) <= MAX_PAGE
