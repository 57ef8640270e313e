"""Documents: parsed, validated and measured once, then remembered; bounded in number and size."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Final

from graphql import DocumentNode, GraphQLError, GraphQLSchema, GraphQLSyntaxError, parse, validate
from graphql.validation import NoSchemaIntrospectionCustomRule, specified_rules

from domain.errors import KithError
from execution.costs import Formula
from execution.dry_runs import ARGUMENT
from execution.limits import MAX_TOKENS, check_before_validation, check_size
from execution.measuring import PageOutOfBounds, measure
from schema.costs import read_costs

MAX_SOURCE_CHARACTERS: Final = 65_536
MAX_REMEMBERED: Final = 1000
MAX_REMEMBERED_CHARACTERS: Final = 16_384
_MAX_ERRORS: Final = 5
_MAX_MESSAGE: Final = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A valid document, and what each of its operations costs, by name."""

    document: DocumentNode
    formulas: Mapping[str | None, Formula]
    may_be_dry: bool
    """Whether a variable or the text could say that the operation is not to be executed."""


class Documents:
    """Gives a document ready to run, or the errors that say why it is none."""

    def __init__(self, schema: GraphQLSchema, *, introspection: bool) -> None:
        self._schema = schema
        self._costs = read_costs(schema)
        self._rules = [*specified_rules, *(() if introspection else (NoSchemaIntrospectionCustomRule,))]
        self._remembered: collections.OrderedDict[str, Prepared] = collections.OrderedDict()

    def get(self, text: str) -> Prepared | list[GraphQLError]:
        """Parse, validate and measure, or remember; only what is valid is remembered."""
        remembered = self._remembered.get(text)
        if remembered is not None:
            self._remembered.move_to_end(text)
            return remembered
        prepared = self._prepare(text)
        if isinstance(prepared, Prepared) and len(text) <= MAX_REMEMBERED_CHARACTERS:
            self._remember(text, prepared)
        return prepared

    def _remember(self, text: str, prepared: Prepared) -> None:
        self._remembered[text] = prepared
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def _prepare(self, text: str) -> Prepared | list[GraphQLError]:
        try:
            document = parse(
                text,
                max_tokens=MAX_TOKENS,
                max_source_length=MAX_SOURCE_CHARACTERS,
                allow_empty_selection_sets=False,
            )
        except GraphQLSyntaxError as error:
            return [_with_code(error, "GRAPHQL_PARSE_FAILED")]
        except RecursionError:
            return [GraphQLError("The document is nested too deeply.", extensions={"code": "GRAPHQL_PARSE_FAILED"})]
        too_much = check_before_validation(document)
        if too_much is not None:
            return [too_much]
        errors = validate(self._schema, document, self._rules, max_errors=_MAX_ERRORS, hide_suggestions=True)
        if errors:
            return [_with_code(_explained(error), _validation_code(error)) for error in errors]
        return self._measured(document, may_be_dry=ARGUMENT in text)

    def _measured(self, document: DocumentNode, *, may_be_dry: bool = False) -> Prepared | list[GraphQLError]:
        try:
            measured = measure(document, self._schema, self._costs)
        except PageOutOfBounds as error:
            return [GraphQLError(str(error), extensions={"code": "BAD_USER_INPUT"})]
        for operation, size in measured:
            too_much = check_size(operation, size)
            if too_much is not None:
                return [too_much]
        names = [operation.name.value if operation.name is not None else None for operation, _ in measured]
        formulas = {name: size.formula for name, (_, size) in zip(names, measured, strict=True)}
        return Prepared(document, formulas, may_be_dry)


def _explained(error: GraphQLError) -> GraphQLError:
    """Give an error for clients where a value failed to be read in a way that its type did not expect."""
    cause: BaseException | None = error.original_error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    expected = cause is None or isinstance(cause, KithError)
    return error if expected else GraphQLError("A value cannot be read as one of its type.", error.nodes)


def _validation_code(error: GraphQLError) -> str:
    hidden = "introspection has been disabled" in error.message
    return "INTROSPECTION_DISABLED" if hidden else "GRAPHQL_VALIDATION_FAILED"


def _with_code(error: GraphQLError, code: str) -> GraphQLError:
    error.extensions = {**(error.extensions or {}), "code": code}
    return shortened(error)


def shortened(error: GraphQLError) -> GraphQLError:
    """Cut a message that repeats much of what the client has sent."""
    if len(error.message) > _MAX_MESSAGE:
        error.message = error.message[:_MAX_MESSAGE] + "…"
    return error
