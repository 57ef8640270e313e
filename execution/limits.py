"""What a document may ask for, measured in one pass that looks at each fragment once however often it is spread."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    Node,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
)

from domain.pages import MAX_PAGE

MAX_TOKENS: Final = 1000
MAX_DEPTH: Final = 12
MAX_ALIASES: Final = 30
MAX_ROOT_MUTATIONS: Final = 10
MAX_NODES: Final = 25_000
MAX_FIELDS: Final = 2000
MAX_DIRECTIVES: Final = 50
MAX_NAMESAKES: Final = 60
_PAGE_ARGUMENTS: Final = ("first", "last")
_BATCH_ARGUMENTS: Final = frozenset({"ids", "usernames"})


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """How large a selection is once its fragments are spread: levels, aliases, root fields, and people at most.

    `expanded` counts the fields of all levels and `directives` what stands at them, as often as they are spread.
    """

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    nodes: int = 0
    expanded: int = 0
    directives: int = 0

    def beside(self, other: "Measure") -> "Measure":
        """Measure both side by side."""
        return Measure(
            max(self.depth, other.depth),
            self.aliases + other.aliases,
            self.fields + other.fields,
            self.nodes + other.nodes,
            self.expanded + other.expanded,
            self.directives + other.directives,
        )

    def under(self, node: OperationDefinitionNode | FragmentDefinitionNode | SelectionNode) -> "Measure":
        """Add the directives that stand at a node itself."""
        own = len(node.directives or ())
        return dataclasses.replace(self, directives=self.directives + own) if own else self


def check_namesakes(document: DocumentNode) -> GraphQLError | None:
    """Refuse a document in which too many fields with fields of their own have one name in the response.

    To be asked before validation, which compares each with each, and all that is inside them.
    """
    counts: collections.Counter[str] = collections.Counter()
    waiting: list[Node] = list(document.definitions)
    while waiting:
        selection_set: SelectionSetNode | None = getattr(waiting.pop(), "selection_set", None)
        if selection_set is not None:
            waiting.extend(selection_set.selections)
            counts.update(filter(None, map(_name_of_object, selection_set.selections)))
    if max(counts.values(), default=0) <= MAX_NAMESAKES:
        return None
    return _error("QUERY_TOO_COMPLEX", f"More than {MAX_NAMESAKES} fields have the same name in the response.")


def _name_of_object(selection: SelectionNode) -> str | None:
    if not isinstance(selection, FieldNode) or selection.selection_set is None:
        return None
    return (selection.alias or selection.name).value


def check_limits(document: DocumentNode) -> GraphQLError | None:
    """Measure each operation of a valid document; gives the error for the first that asks for too much."""
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    ruler = _Ruler(fragments)
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    try:
        judged = [
            _judge(operation, ruler.measure(operation.selection_set).under(operation)) for operation in operations
        ]
    except PageOutOfBounds as error:
        return _error("BAD_USER_INPUT", str(error))
    return next(filter(None, judged), None)


def _judge(operation: OperationDefinitionNode, measure: Measure) -> GraphQLError | None:
    if measure.depth > MAX_DEPTH:
        return _error("QUERY_TOO_DEEP", f"The query is deeper than {MAX_DEPTH} levels.")
    if measure.aliases > MAX_ALIASES:
        return _error("TOO_MANY_ALIASES", f"The query has more than {MAX_ALIASES} aliases.")
    if operation.operation is OperationType.MUTATION and measure.fields > MAX_ROOT_MUTATIONS:
        return _error("QUERY_TOO_COMPLEX", f"A request has at most {MAX_ROOT_MUTATIONS} mutations.")
    if measure.nodes > MAX_NODES:
        extensions = {"cost": measure.nodes, "limit": MAX_NODES}
        message = f"The query could reach {measure.nodes} people; {MAX_NODES} are allowed. Ask for smaller pages."
        return _error("QUERY_TOO_COMPLEX", message, **extensions)
    return _judge_length(measure)


def _judge_length(measure: Measure) -> GraphQLError | None:
    if measure.expanded > MAX_FIELDS:
        return _error("QUERY_TOO_COMPLEX", f"With its fragments the query has more than {MAX_FIELDS} fields.")
    if measure.directives > MAX_DIRECTIVES:
        return _error("QUERY_TOO_COMPLEX", f"The query has more than {MAX_DIRECTIVES} directives.")
    return None


def _error(code: str, message: str, **extensions: object) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code, **extensions})


class PageOutOfBounds(Exception):
    """A page is asked for that there cannot be."""


class _Ruler:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._measured: dict[str, Measure] = {}

    def measure(self, selection_set: SelectionSetNode) -> Measure:
        total = Measure()
        for selection in selection_set.selections:
            total = total.beside(self._measure_selection(selection))
        return total

    def _measure_selection(self, selection: SelectionNode) -> Measure:
        if isinstance(selection, FragmentSpreadNode):
            return self._measure_fragment(selection.name.value).under(selection)
        if isinstance(selection, InlineFragmentNode):
            return self.measure(selection.selection_set).under(selection)
        return self._measure_field(selection).under(selection) if isinstance(selection, FieldNode) else Measure()

    def _measure_fragment(self, name: str) -> Measure:
        if name not in self._measured:
            fragment = self._fragments[name]
            self._measured[name] = self.measure(fragment.selection_set).under(fragment)
        return self._measured[name]

    def _measure_field(self, field: FieldNode) -> Measure:
        aliases = 1 if field.alias is not None else 0
        if field.selection_set is None or field.name.value.startswith("__"):  # introspection has its own limit
            return Measure(depth=1, aliases=aliases, fields=1, expanded=1)
        inside = self.measure(field.selection_set)
        many = _how_many(field)
        return Measure(
            depth=inside.depth + 1,
            aliases=inside.aliases + aliases,
            fields=1,
            nodes=many * (1 + inside.nodes),
            expanded=inside.expanded + 1,
            directives=inside.directives,
        )


def _how_many(field: FieldNode) -> int:
    """Tell how many objects a field can give for each of its parents; a variable counts as the largest page."""
    values = {argument.name.value: argument.value for argument in field.arguments or ()}
    if _BATCH_ARGUMENTS & values.keys():
        return MAX_PAGE
    pages = [values[name] for name in _PAGE_ARGUMENTS if name in values]
    if len(pages) > 1 and all(isinstance(value, IntValueNode) for value in pages):
        raise PageOutOfBounds("Give exactly one of `first` and `last`.")
    return max([1, *map(_page_size, pages)])


def _page_size(value: ValueNode) -> int:
    if not isinstance(value, IntValueNode):
        return MAX_PAGE
    if not 1 <= int(value.value) <= MAX_PAGE:
        raise PageOutOfBounds(f"A page has 1 to {MAX_PAGE} entries.")
    return int(value.value)
