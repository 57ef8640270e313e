"""The contract with other services, written out: `python -m events.contract` makes `docs/asyncapi.yaml` and the table
in `docs/events.md` from the payload types; with `--check` it says whether they are what is committed.

It needs the packages for development, as `make check` does.
"""

import sys
import uuid
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from domain.emissions import EMISSIONS, OCCASIONS, Edge, Emission, Emitted
from domain.events import MEANINGS, PAYLOADS, STREAMS, TOPICS, EventType
from events.broker import PARTITIONS
from events.records import CONTENT_TYPE, HEADERS, OPTIONAL_HEADERS, SOURCE

_DOCS: Final = Path(__file__).parents[1] / "docs"
ASYNCAPI_PATH: Final = _DOCS / "asyncapi.yaml"
TABLE_PATH: Final = _DOCS / "events.md"
_BEGIN: Final = "<!-- made by `python -m events.contract` -->"
_END: Final = "<!-- end -->"
_WIDTH: Final = 110

ACTOR: Final = "nF3vWq0cQmyb6eJ1t0sGZA"
OTHER: Final = "m0Zc2Yb1R1q5v0bq3uQk8w"
_EXAMPLES: Final[dict[str, Any]] = {
    "version": 1,
    "followerId": ACTOR,
    "followeeId": OTHER,
    "blockerId": ACTOR,
    "blockedId": OTHER,
    "muterId": ACTOR,
    "mutedId": OTHER,
    "userId": ACTOR,
    "pairVersion": 7,
    "userVersion": 12,
    "optedOut": True,
    "consentNumber": 3,
    "wasPending": False,
    "restored": False,
    "expiresAt": None,
    "sessionId": None,
    "revokedAt": "2026-11-22T09:30:00Z",
}
_TOPIC_MEANINGS: Final = {
    "users.v1": "Accounts and profiles.",
    "social.v1": "Follows, blocks and mutes.",
    "privacy.v1": "Who may see what, and whose data may be shared.",
    "identity.v1": "Sessions.",
}

Node = dict[str, Any]


def document() -> Node:
    """Give the contract as an AsyncAPI document."""
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Kith: facts about people and how they relate",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 in binary mode on Kafka; ids only, never personal data. See events.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {topic: _channel(topic) for topic in TOPICS},
        "operations": {f"publish.{topic}": _operation(topic) for topic in TOPICS},
        "components": {
            "messages": {event_type.value: _message(event_type) for event_type in EventType},
            "schemas": {"CloudEventHeaders": _header_schema(), **_payload_schemas()},
        },
    }


def _channel(topic: str) -> Node:
    return {
        "address": topic,
        "description": _TOPIC_MEANINGS[topic],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names_of(topic)},
        "bindings": {"kafka": {"topic": topic, "partitions": PARTITIONS, "bindingVersion": "0.5.0"}},
    }


def _operation(topic: str) -> Node:
    channel = topic.replace("/", "~1")
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": f"Kith publishes on {topic}; read it under a group of your own.",
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in _names_of(topic)],
    }


def _names_of(topic: str) -> list[str]:
    return [event_type.value for event_type in EventType if f"{STREAMS[event_type]}.v1" == topic]


def _message(event_type: EventType) -> Node:
    payload = PAYLOADS[event_type].__name__
    return {
        "name": event_type.value,
        "title": event_type.value,
        "summary": MEANINGS[event_type],
        "contentType": CONTENT_TYPE,
        "headers": {"$ref": "#/components/schemas/CloudEventHeaders"},
        "payload": {"$ref": f"#/components/schemas/{payload}"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "The acting person's id: facts of one key come in order."},
                "bindingVersion": "0.5.0",
            }
        },
        "examples": [{"name": "one", "headers": example_headers(event_type), "payload": example_payload(event_type)}],
    }


def example_headers(event_type: EventType) -> Node:
    """Give headers as a record of this type has them."""
    return {
        "ce_id": str(uuid.uuid5(uuid.NAMESPACE_URL, event_type.value)),
        "ce_source": SOURCE,
        "ce_specversion": "1.0",
        "ce_type": event_type.value,
        "ce_subject": ACTOR,
        "ce_time": "2026-01-31T12:00:00.123456+00:00",
        "ce_partitionkey": ACTOR,
        "ce_sequence": "00000000000000004711",
        "content-type": CONTENT_TYPE,
    }


def example_payload(event_type: EventType) -> Node:
    """Give a payload as a record of this type has it."""
    fields = msgspec.structs.fields(PAYLOADS[event_type])
    return {field.encode_name: _EXAMPLES[field.encode_name] for field in fields}


def _header_schema() -> Node:
    described = {**HEADERS, **OPTIONAL_HEADERS}
    properties: Node = {name: {"type": "string", "description": text} for name, text in described.items()}
    properties["ce_id"]["format"] = "uuid"
    properties["ce_source"]["const"] = SOURCE
    properties["ce_specversion"]["const"] = "1.0"
    properties["ce_time"]["format"] = "date-time"
    properties["ce_sequence"]["pattern"] = "^[0-9]{20}$"
    properties["content-type"]["const"] = CONTENT_TYPE
    return {"type": "object", "properties": properties, "required": list(HEADERS)}


def _payload_schemas() -> Node:
    """Give the payloads' schemas; all fields of a version are always there, and later ones may come beside them."""
    types = sorted(set(PAYLOADS.values()), key=lambda payload: payload.__name__)
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {name: {**schema, "required": list(schema["properties"])} for name, schema in schemas.items()}


def render() -> str:
    """Write the document as it is committed."""
    return yaml.dump(document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def render_table() -> str:
    """Write the table of what emits what."""
    lines = ["| mutation | when | emits, in order |", "| --- | --- | --- |"]
    lines += [f"| `{row.mutation}` | {_when(row)} | {_told(row.events)} |" for row in EMISSIONS]
    lines += ["", "| without a mutation | emits |", "| --- | --- |"]
    lines += [f"| {row.cause} | {', '.join(f'`{event.value}`' for event in row.events)} |" for row in OCCASIONS]
    return "\n".join(lines)


def _when(row: Emission) -> str:
    return f"{row.state.value}; given {row.given}" if row.given else row.state.value


def _told(events: tuple[Emitted, ...]) -> str:
    return "<br>".join(map(_fact, events)) or "nothing"


def _fact(emitted: Emitted) -> str:
    edge = f" {emitted.edge.value}" if emitted.edge is not Edge.VIEWER else ""
    return f"`{emitted.type.value}`{edge}{', `wasPending`' if emitted.was_pending else ''}"


def render_page(page: str) -> str:
    """Put the table into the page, between its marks."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{render_table()}\n{_END}{after}"


def _main(arguments: list[str]) -> int:
    made = {ASYNCAPI_PATH: render(), TABLE_PATH: render_page(TABLE_PATH.read_text())}
    if arguments != ["--check"]:
        for path, text in made.items():
            path.write_text(text)
        return 0
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        sys.stderr.write(f"docs/{path.name} is not what the code says: run `python -m events.contract` and commit it\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
