"""The messages of graphql-transport-ws, read strictly: what is none ends the socket with the protocol's code."""

from typing import Any, Final

from execution.engine import GraphQLRequest
from transport.bodies import BadRequest, decode_object, request_of
from transport.lines import Ending

MAX_ID_CHARACTERS: Final = 128
KINDS: Final = frozenset({"connection_init", "ping", "pong", "subscribe", "complete"})
"""What clients may send."""


class Closing(Exception):
    """The socket is closed with a code and a reason of the protocol."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.ending = Ending(code, reason)


def read_message(text: str) -> tuple[str, dict[str, Any]]:
    """Read a message: its type and its fields; raises Closing."""
    try:
        fields = decode_object(text.encode("utf-8", "surrogatepass"))
    except BadRequest as error:
        raise Closing(4400, "Not a JSON object") from error
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise Closing(4400, "Unknown message type")
    return kind, fields


def read_payload(fields: dict[str, Any]) -> dict[str, Any]:
    """Read the payload of a message that may do without one; null is none of the forms it can have."""
    payload = fields.get("payload", {})
    if not isinstance(payload, dict):
        raise Closing(4400, "The payload must be an object")
    return payload


def read_identity(fields: dict[str, Any]) -> str:
    """Read the id of an operation; raises Closing."""
    identity = fields.get("id")
    if not isinstance(identity, str) or not 0 < len(identity) <= MAX_ID_CHARACTERS:
        raise Closing(4400, f"The id must be a string of at most {MAX_ID_CHARACTERS} characters")
    return identity


def read_subscribe(fields: dict[str, Any]) -> tuple[str, GraphQLRequest]:
    """Read the id of an operation and what is asked for; raises Closing."""
    try:
        return read_identity(fields), request_of(read_payload(fields))
    except BadRequest as error:
        raise Closing(4400, str(error)) from error
