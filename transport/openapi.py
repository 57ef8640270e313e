"""The OpenAPI document of REST `/v1`, made from its routes and the GraphQL schema: `python -m transport.openapi`.

With `--check` it says whether that is what is committed.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    SelectionSetNode,
    parse,
)

from schema.schema import SCHEMA
from transport.problems import PROBLEM
from transport.rest import PERSON, ROUTES, Route

PATH: Final = Path(__file__).with_name("openapi.json")
_SCALARS: Final[dict[str, dict[str, Any]]] = {
    "ID": {"type": "string"},
    "String": {"type": "string"},
    "Boolean": {"type": "boolean"},
    "Int": {"type": "integer"},
    "DateTime": {"type": "string", "format": "date-time"},
}
_PROBLEMS: Final = {
    "400": "The request is malformed.",
    "401": "There is no access token, or it is not valid.",
    "403": "The access token does not allow this.",
    "404": "The person is not available: whatever the reason, the answer is the same.",
    "409": "The request with this `Idempotency-Key` is still running; `Retry-After` says when to send it again.",
    "413": "The body is larger than 128 KiB.",
    "415": "The body is none of `application/json`, or in a coding that is not understood.",
    "422": "The request is understood and cannot be done; `code` says why.",
    "429": "Too many requests; `Retry-After` says when to come back.",
    "500": "Something went wrong; `errorId` leads to the log.",
    "503": "The service is busy; `Retry-After` says when to come back.",
    "504": "The request took longer than it was given.",
}

Node = dict[str, Any]


def document() -> Node:
    """Give the document."""
    paths: Node = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kith",
            "version": "1",
            "description": "People, follows and blocks. The whole of the service is at `/graphql`, with the same ids.",
        },
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"User": _person(SCHEMA._schema), "Problem": _problem()},  # noqa: SLF001 - no public name
        },
    }


def _operation(route: Route) -> Node:
    operation: Node = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "parameters": list(_parameters(route)),
        "responses": {**_answers(route), **_problems(route)},
    }
    if route.is_mutation or route.field == "me":
        operation["security"] = [{"token": []}]
    if route.body:
        until = {"type": ["string", "null"], "format": "date-time", "description": "until when; for good without it"}
        body = {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(route.body, until)}
        operation["requestBody"] = {"required": False, "content": {"application/json": {"schema": body}}}
    return operation


def _parameters(route: Route) -> Iterator[Node]:
    for name in ("username", "id"):
        if f"{{{name}}}" in route.path:
            yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    yield {
        "name": "X-Consistency-Token",
        "in": "header",
        "schema": {"type": "string"},
        "description": "What an earlier change gave: this request then sees no less.",
    }
    yield {
        "name": "Request-Timeout",
        "in": "header",
        "schema": {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,6})?$"},
        "description": "How many seconds you are going to wait; the work ends then, if not before.",
    }
    if not route.is_mutation:
        yield {
            "name": "If-None-Match",
            "in": "header",
            "schema": {"type": "string"},
            "description": "The `ETag` of what you have: where it has not changed, it is not sent again.",
        }
    if route.is_mutation:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            "description": "A name of your own: sent again under it within a day, the request has no second effect.",
        }


def _answers(route: Route) -> Node:
    person: Node = {"$ref": "#/components/schemas/User"}
    shown = {"application/json": {"schema": {"oneOf": [person, {"type": "null"}]} if route.is_mutation else {**person}}}
    if not route.is_mutation:
        tag = {"ETag": {"schema": {"type": "string"}}}
        return {
            "200": {"description": "The person, as the caller may see him.", "headers": tag, "content": shown},
            "304": {"description": "As `If-None-Match` has it."},
        }
    token = {"X-Consistency-Token": {"schema": {"type": "string"}}}
    answers = {"200": {"description": "Done, now or before.", "headers": token, "content": shown}}
    if route.operation_id == "follow":
        answers["202"] = {"description": "The request waits for the person.", "headers": token, "content": shown}
    return answers


def _problems(route: Route) -> Node:
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    left_out = {"409", "413", "415", "422"} if not route.is_mutation else set()
    if route.field == "me":
        left_out.add("404")
    return {
        status: {"description": meaning, "content": content}
        for status, meaning in _PROBLEMS.items()
        if status not in left_out
    }


def _problem() -> Node:
    text, number = {"type": "string"}, {"type": "integer"}
    named = {
        "type": text,
        "title": text,
        "status": number,
        "detail": text,
        "code": text,
        "retryAfter": number,
        "errorId": text,
    }
    return {"type": "object", "required": ["type", "title", "status", "detail", "code"], "properties": named}


def _person(schema: GraphQLSchema) -> Node:
    [fragment] = parse(PERSON).definitions
    if not isinstance(fragment, FragmentDefinitionNode):
        raise TypeError
    return _object(schema.type_map["User"], fragment.selection_set)


def _object(kind: Any, selections: SelectionSetNode) -> Node:
    if not isinstance(kind, GraphQLObjectType):
        raise TypeError
    properties = {}
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            name = selection.name.value
            field = kind.fields[name]
            properties[name] = _typed(field.type, selection.selection_set)
            if field.description:
                properties[name]["description"] = field.description
    return {"type": "object", "required": list(properties), "properties": properties}


def _typed(kind: Any, selections: SelectionSetNode | None) -> Node:
    if isinstance(kind, GraphQLNonNull):
        return _present(kind.of_type, selections)
    present = _present(kind, selections)
    return {**present, "type": [present["type"], "null"]}


def _present(kind: Any, selections: SelectionSetNode | None) -> Node:
    if isinstance(kind, GraphQLList):
        return {"type": "array", "items": _typed(kind.of_type, selections)}
    if isinstance(kind, GraphQLEnumType):
        return {"type": "string", "enum": list(kind.values)}
    if selections is not None:
        return _object(kind, selections)
    return dict(_SCALARS[kind.name])


def text() -> bytes:
    """Give the document as it is committed and served."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _main(arguments: list[str]) -> int:
    if arguments != ["--check"]:
        PATH.write_bytes(text())
        return 0
    if PATH.read_bytes() == text():
        return 0
    sys.stderr.write("transport/openapi.json is not what the code says: run `python -m transport.openapi`, commit it\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
