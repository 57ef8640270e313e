"""Makes a generated operation nastier: named fragments, aliases, duplicates, conditions, variables."""

import dataclasses
import itertools
import random
from typing import Any

from graphql import (
    ArgumentNode,
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    NamedTypeNode,
    NameNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    parse_type,
    value_from_ast_untyped,
    visit,
)

CONDITIONS = ("yes", "no")


@dataclasses.dataclass
class Mutated:
    document: DocumentNode
    variables: list[dict[str, Any]]
    """Several sets of values that the operation takes."""


def mutate(schema: GraphQLSchema, document: DocumentNode, seed: int) -> Mutated:
    """Change a document by chance, always the same for the same seed."""
    mutation = _Mutation(schema, random.Random(seed))
    changed = visit(document, TypeInfoVisitor(mutation.types, mutation))
    return mutation.finished(changed)


class _Mutation(Visitor):
    def __init__(self, schema: GraphQLSchema, dice: random.Random) -> None:
        super().__init__()
        self.types = TypeInfo(schema)
        self._dice = dice
        self._fragments: list[FragmentDefinitionNode] = []
        self._variables: dict[str, tuple[str, Any]] = {}
        self._conditions: set[str] = set()

    def finished(self, document: DocumentNode) -> Mutated:
        operations = [self._declared(each) for each in document.definitions]
        values = {name: value for name, (_, value) in self._variables.items()}
        used = sorted(self._conditions)
        combinations = list(itertools.product((True, False), repeat=len(used)))
        variables = [
            {**varied, **dict(zip(used, each, strict=True))}
            for each in combinations
            for varied in (self._varied(values), self._varied({name: self._other(v) for name, v in values.items()}))
        ]
        return Mutated(DocumentNode(definitions=(*operations, *self._fragments)), variables)

    def _other(self, value: Any) -> Any:
        """Give another number where it is one: a plan must not keep what an earlier request sent."""
        return self._dice.randrange(9) if isinstance(value, int) and not isinstance(value, bool) else value

    def _varied(self, values: dict[str, Any]) -> dict[str, Any]:
        """Leave out, or null, a variable now and then."""
        varied = dict(values)
        for name, (type_, _) in self._variables.items():
            if not type_.endswith("!") and self._dice.random() < 0.3:
                varied.pop(name) if self._dice.random() < 0.5 else varied.update({name: None})
        return varied

    def _declared(self, definition: Any) -> Any:
        if not isinstance(definition, OperationDefinitionNode):
            return definition
        types = {name: type_ for name, (type_, _) in self._variables.items()}
        types |= dict.fromkeys(sorted(self._conditions), "Boolean!")
        declared = tuple(
            VariableDefinitionNode(variable=_variable(name), type=parse_type(type_), default_value=None, directives=())
            for name, type_ in types.items()
        )
        return dataclasses.replace(definition, variable_definitions=declared)

    def enter_argument(self, node: ArgumentNode, *_: object) -> ArgumentNode | None:
        argument = self.types.get_argument()
        if argument is None or self._dice.random() > 0.4 or isinstance(node.value, VariableNode):
            return None
        name = f"v{len(self._variables)}"
        self._variables[name] = (str(argument.type), value_from_ast_untyped(node.value))
        return dataclasses.replace(node, value=_variable(name))

    def leave_selection_set(self, node: SelectionSetNode, *_: object) -> SelectionSetNode:
        selections: list[SelectionNode] = []
        for selection in node.selections:
            selections += self._changed(selection, len(selections))
        parent = self.types.get_parent_type()
        if parent is not None and selections and self._dice.random() < 0.25:
            selections = self._with_fragment(selections, parent.name)
        return SelectionSetNode(selections=tuple(selections))

    def _changed(self, selection: SelectionNode, place: int) -> list[SelectionNode]:
        changed = dataclasses.replace(selection, directives=self._directives())
        made: list[SelectionNode] = [changed]
        if isinstance(selection, FieldNode):
            if self._dice.random() < 0.1:
                made.append(dataclasses.replace(selection))
            if self._dice.random() < 0.2:
                alias = NameNode(value=f"a{place}{self._dice.randrange(9)}")
                made.append(dataclasses.replace(selection, alias=alias, arguments=self._other_arguments(selection)))
        elif isinstance(selection, InlineFragmentNode) and self._dice.random() < 0.2:
            made.append(dataclasses.replace(selection))
        return made

    def _other_arguments(self, field: FieldNode) -> tuple[ArgumentNode, ...]:
        return tuple(
            dataclasses.replace(argument, value=IntValueNode(value=str(self._dice.randrange(9))))
            if isinstance(argument.value, IntValueNode)
            else argument
            for argument in field.arguments or ()
        )

    def _directives(self) -> tuple[DirectiveNode, ...]:
        if self._dice.random() > 0.15:
            return ()
        value: Any
        if self._dice.random() < 0.5:
            name = self._dice.choice(CONDITIONS)
            self._conditions.add(name)
            value = _variable(name)
        else:
            value = BooleanValueNode(value=self._dice.random() < 0.5)
        argument = ArgumentNode(name=NameNode(value="if"), value=value)
        return (DirectiveNode(name=NameNode(value=self._dice.choice(["skip", "include"])), arguments=(argument,)),)

    def _with_fragment(self, selections: list[SelectionNode], type_name: str) -> list[SelectionNode]:
        cut = self._dice.randrange(len(selections))
        name = NameNode(value=f"F{len(self._fragments)}")
        self._fragments.append(
            FragmentDefinitionNode(
                name=name,
                type_condition=NamedTypeNode(name=NameNode(value=type_name)),
                directives=(),
                selection_set=SelectionSetNode(selections=tuple(selections[cut:])),
                variable_definitions=(),
            )
        )
        spreads = [FragmentSpreadNode(name=name, directives=self._directives())]
        if self._dice.random() < 0.3:
            spreads.append(FragmentSpreadNode(name=name, directives=()))
        return [*selections[:cut], *spreads]


def _variable(name: str) -> VariableNode:
    return VariableNode(name=NameNode(value=name))
