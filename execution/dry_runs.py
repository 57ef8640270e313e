"""Operations that only ask what they would cost: `rateLimit(dryRun: true)` stands at their root."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
)

from execution.costs import Values

FIELD: Final = "rateLimit"
ARGUMENT: Final = "dryRun"


def dry_run(document: DocumentNode, operation: OperationDefinitionNode, values: Values) -> DocumentNode | None:
    """Give what is left to execute of an operation that asks only what it costs; None for any other."""
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    search = _Search(fragments, values)
    left = search.left(operation.selection_set)
    if left is None or not search.found:
        return None
    return DocumentNode(definitions=(dataclasses.replace(operation, selection_set=left),))


@dataclasses.dataclass(slots=True)
class _Search:
    """Leaves nothing but the fields that are looked for, and notes whether one of them asks for a dry run."""

    fragments: Mapping[str, FragmentDefinitionNode]
    values: Values
    found: bool = False

    def left(self, selection_set: SelectionSetNode) -> SelectionSetNode | None:
        selections = [kept for each in selection_set.selections if (kept := self._kept(each)) is not None]
        return SelectionSetNode(selections=tuple(selections)) if selections else None

    def _kept(self, selection: SelectionNode) -> SelectionNode | None:
        if isinstance(selection, FieldNode):
            return self._kept_field(selection)
        if isinstance(selection, FragmentSpreadNode):
            fragment = self.fragments[selection.name.value]
            inner = InlineFragmentNode(
                type_condition=fragment.type_condition,
                directives=selection.directives,
                selection_set=fragment.selection_set,
            )
            return self._kept(inner)
        return self._kept_inside(selection) if isinstance(selection, InlineFragmentNode) else None

    def _kept_inside(self, fragment: InlineFragmentNode) -> InlineFragmentNode | None:
        inside = self.left(fragment.selection_set)
        return dataclasses.replace(fragment, selection_set=inside) if inside is not None else None

    def _kept_field(self, field: FieldNode) -> FieldNode | None:
        if field.name.value != FIELD:
            return None
        self.found = self.found or any(
            argument.name.value == ARGUMENT and _is_true(argument.value, self.values)
            for argument in field.arguments or ()
        )
        return field


def _is_true(value: Any, values: Values) -> bool:
    if isinstance(value, VariableNode):
        return values.get(value.name.value) is True
    return isinstance(value, BooleanValueNode) and value.value
