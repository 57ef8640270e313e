"""What an operation costs at most: a formula of its document, made once, that takes the values of its variables.

A formula is what is certain, and terms: something times what is inside. Fragments are shared, never copied, so that
it is no longer than its document however often they are spread.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    SelectionNode,
    ValueNode,
    VariableNode,
)

from domain.pages import MAX_PAGE
from schema.costs import DEFAULT_SIZE, FieldCost

Values = Mapping[str, Any]


class Estimate(NamedTuple):
    """What an operation costs at most, and how many objects with ids it could reach."""

    cost: int = 0
    nodes: int = 0

    @property
    def price(self) -> int:
        """Give what is charged for it: 1 at least."""
        return max(1, self.cost)

    def plus(self, other: "Estimate", times: int = 1) -> "Estimate":
        """Add another, so many times."""
        return Estimate(self.cost + other.cost * times, self.nodes + other.nodes * times)


NOTHING: Final = Estimate()


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How many items there are: the largest that the arguments say, numbers or lists, or else as assumed."""

    known: int | None
    variables: tuple[tuple[str, ...], ...]
    """Names of variables, and of what is meant inside those that are objects."""
    otherwise: int

    def of(self, values: Values) -> int:
        """Give the number for these values; what is beyond a page is refused by the field itself."""
        given = (_length(_inside(values, path)) for path in self.variables)
        sizes = [size for size in (self.known, *given) if size is not None]
        return min(max(sizes), MAX_PAGE) if sizes else self.otherwise


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """Whether something is there at all, as a variable says."""

    variable: str
    includes: bool

    def of(self, values: Values) -> int:
        """Give 1 where it is there, 0 where it is not."""
        return int(bool(values.get(self.variable)) is self.includes)


Factor = int | Size | Condition


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """What is certain, and what depends on variables."""

    certain: Estimate = NOTHING
    terms: tuple[tuple[Factor, "Formula"], ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Tell whether it is nothing for all values."""
        return not self.terms and self.certain == NOTHING

    def times(self, factor: Factor) -> "Formula":
        """Multiply all of it."""
        if factor == 0 or self.is_nothing:
            return ZERO
        if factor == 1:
            return self
        if isinstance(factor, int) and not self.terms:
            return Formula(NOTHING.plus(self.certain, factor))
        return Formula(NOTHING, ((factor, self),))

    def of(self, values: Values) -> Estimate:
        """Give the estimate for these values of the variables; every part is computed once."""
        return self.certain if not self.terms else _evaluate(self, values, {})


ZERO: Final = Formula()


def total(formulas: Iterable[Formula]) -> Formula:
    """Add formulas; one that has terms is referred to as a whole."""
    certain = NOTHING
    terms: list[tuple[Factor, Formula]] = []
    for formula in formulas:
        if len(formula.terms) > 1:
            terms.append((1, formula))
        else:
            certain = certain.plus(formula.certain)
            terms += formula.terms
    return Formula(certain, tuple(terms))


def _evaluate(formula: Formula, values: Values, done: dict[int, Estimate]) -> Estimate:
    found = done.get(id(formula))
    if found is None:
        found = formula.certain
        for factor, inner in formula.terms:
            number = factor if isinstance(factor, int) else factor.of(values)
            found = found.plus(_evaluate(inner, values, done), number)
        done[id(formula)] = found
    return found


class Weight(NamedTuple):
    """What a selection costs for one object, and what of it there is once per item that its field's size tells of."""

    alone: Formula = ZERO
    per_item: Formula = ZERO

    @property
    def whole(self) -> Formula:
        """Give all of it where no field tells of the size."""
        return total((self.alone, self.per_item.times(DEFAULT_SIZE)))

    @staticmethod
    def total(weights: Iterable["Weight"]) -> "Weight":
        """Add weights."""
        added = list(weights)
        return Weight(total(weight.alone for weight in added), total(weight.per_item for weight in added))

    def under(self, node: SelectionNode) -> "Weight":
        """Take into account the conditions at a node."""
        weight = self
        for directive in node.directives or ():
            factor = _condition(directive)
            weight = Weight(weight.alone.times(factor), weight.per_item.times(factor))
        return weight


WEIGHTLESS: Final = Weight()


def weigh(field: FieldNode, cost: FieldCost, inner: Weight) -> Weight:
    """Give what a field costs, with what is selected inside it."""
    own = Formula(Estimate(cost.weight, int(cost.is_node)))
    if not cost.is_list:
        size = _size(field, cost) if cost.sizes_inner else DEFAULT_SIZE
        return Weight(total((own, inner.alone, inner.per_item.times(size))))
    item = total((own, inner.whole))
    is_sized = cost.slicing or cost.assumed is not None
    return Weight(item.times(_size(field, cost))) if is_sized else Weight(ZERO, item)


def _size(field: FieldNode, cost: FieldCost) -> Factor:
    arguments = {argument.name.value: argument.value for argument in field.arguments or ()}
    given = [_meant(arguments.get(path[0]), path[1:]) for path in cost.slicing]
    known = [size for size in map(_literal, given) if size is not None]
    variables = tuple(path for path in given if isinstance(path, tuple))
    size = Size(max(known, default=None), variables, cost.assumed if cost.assumed is not None else 1)
    return size if variables else size.of({})


def _meant(value: ValueNode | None, path: tuple[str, ...]) -> ValueNode | tuple[str, ...] | None:
    """Go inside an argument; gives what is written there, or from which variable it comes."""
    if isinstance(value, VariableNode):
        return (value.name.value, *path)
    if not path:
        return value
    fields = value.fields if isinstance(value, ObjectValueNode) else ()
    inner = next((field.value for field in fields if field.name.value == path[0]), None)
    return _meant(inner, path[1:])


def _literal(value: ValueNode | tuple[str, ...] | None) -> int | None:
    if isinstance(value, IntValueNode):
        return max(0, int(value.value))
    return len(value.values) if isinstance(value, ListValueNode) else None


def _inside(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _length(value: object) -> int | None:
    if isinstance(value, int):
        return max(0, value)
    return len(value) if isinstance(value, list | tuple) else None


def _condition(directive: DirectiveNode) -> Factor:
    name = directive.name.value
    if name not in ("skip", "include") or not directive.arguments:
        return 1
    value, includes = directive.arguments[0].value, name == "include"
    if isinstance(value, BooleanValueNode):
        return int(value.value is includes)
    return Condition(value.name.value, includes) if isinstance(value, VariableNode) else 1
