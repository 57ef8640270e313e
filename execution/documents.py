"""Documents: parsed, validated and measured once, then remembered; bounded in number and size."""

import collections
from typing import Final

from graphql import DocumentNode, GraphQLError, GraphQLSchema, GraphQLSyntaxError, parse, validate
from graphql.validation import NoSchemaIntrospectionCustomRule, specified_rules

from domain.errors import KithError
from execution.limits import MAX_TOKENS, check_limits, check_namesakes

MAX_SOURCE_CHARACTERS: Final = 65_536
MAX_REMEMBERED: Final = 1000
MAX_REMEMBERED_CHARACTERS: Final = 16_384
_MAX_ERRORS: Final = 5


class Documents:
    """Gives a document ready to run, or the errors that say why it is none."""

    def __init__(self, schema: GraphQLSchema, *, introspection: bool) -> None:
        self._schema = schema
        self._rules = [*specified_rules, *(() if introspection else (NoSchemaIntrospectionCustomRule,))]
        self._remembered: collections.OrderedDict[str, DocumentNode] = collections.OrderedDict()

    def get(self, text: str) -> DocumentNode | list[GraphQLError]:
        """Parse, validate and measure, or remember; only what is valid is remembered."""
        document = self._remembered.get(text)
        if document is not None:
            self._remembered.move_to_end(text)
            return document
        prepared = self._prepare(text)
        if isinstance(prepared, DocumentNode) and len(text) <= MAX_REMEMBERED_CHARACTERS:
            self._remember(text, prepared)
        return prepared

    def _remember(self, text: str, document: DocumentNode) -> None:
        self._remembered[text] = document
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def _prepare(self, text: str) -> DocumentNode | list[GraphQLError]:
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
        too_much = check_namesakes(document)
        if too_much is not None:
            return [too_much]
        errors = validate(self._schema, document, self._rules, max_errors=_MAX_ERRORS, hide_suggestions=True)
        if errors:
            return [_with_code(_explained(error), _validation_code(error)) for error in errors]
        too_much = check_limits(document)
        return [too_much] if too_much is not None else document


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
    return error
