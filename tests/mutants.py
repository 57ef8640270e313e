"""Valid messages, and what comes of them when somebody meddles: bytes, values of JSON, and tokens of GraphQL."""

import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

_BYTES: Final = (
    b"null", b"[]", b"{}", b'"', b"\\", b"\\u0000", b"\\ud800", b"\\uDFFF\\ud800", b"\xff", b"\xc0\x80",
    b"\xed\xa0\x80", b"\x00", b"\xef\xbb\xbf", b"1e999", b"-0", b"-1", b"NaN", b"Infinity", b"9" * 400, b"[" * 2000,
    b'{"a":' * 300, b"\r\n", b"//", b"#", b",", b":", b"'",
)  # fmt: skip
_VALUES: Final[Sequence[Any]] = (
    None, True, False, 0, -1, 2**31, 2**63, 1e308, "", " ", "\0", "\ud7ff\ue000", "x" * 20_000, [], [[]], [None] * 300,
    {}, {"": {}}, {"__proto__": {"x": 1}}, "{__typename}", "query", "subscription { followReceived { id } }", "4400",
)  # fmt: skip
_TOKENS: Final = (
    "{", "}", "(", ")", "[", "]", "!", "$", "$v", "@", "@skip(if: $v)", "@include(if: null)", "...", "...F", ":", "=",
    "|", "&", "on", "fragment F on User { id }", "query", "mutation", "subscription", "null", "-", "1.5e400", '"',
    '"""', "\\u", "#", ",", "__typename", "__schema { types { name } }", "id", "first: -1", "\ufeff", "\u202e", "\0",
    "é", "\U0001f600",
)  # fmt: skip
_STEPS: Final = (1, 1, 1, 2, 4)
MAX_BYTES: Final = 100_000

Json = Mapping[str, Any]


def mutants(messages: Sequence[Json], seed: int, count: int) -> Iterator[bytes]:
    """Give as many mutants of messages, none larger than what is read; the same seed gives the same."""
    rng = random.Random(seed)
    while count:
        message = json.loads(json.dumps(rng.choice(messages)))
        meddle = rng.choice((_with_bytes, _with_values, _with_tokens))
        mutant = meddle(message, rng)
        if len(mutant) <= MAX_BYTES:
            count -= 1
            yield mutant


def _with_values(message: dict[str, Any], rng: random.Random) -> bytes:
    """Put other values, names and whole fields somewhere into the message."""
    for _ in range(rng.choice(_STEPS)):
        place = _place(message, rng)
        key = rng.choice([*place, *place, "x", "id", "variables", "extensions", "operationName"])
        if rng.random() < 0.2:
            place.pop(key, None)
        else:
            place[key] = copy.deepcopy(rng.choice(_VALUES))
    return json.dumps(message).encode()


def _place(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    while inner := [child for child in value.values() if isinstance(child, dict)]:
        if rng.random() < 0.4:
            break
        value = rng.choice(inner)
    return value


def _with_tokens(message: dict[str, Any], rng: random.Random) -> bytes:
    """Put, drop and swap tokens in the document."""
    holder = message["payload"] if isinstance(message.get("payload"), dict) else message
    words = str(holder.get("query", "")).split(" ")
    for _ in range(rng.choice(_STEPS)):
        at = rng.randrange(len(words))
        kind = rng.randrange(4)
        if kind == 0:
            words.insert(at, rng.choice(_TOKENS))
        elif kind == 1:
            words[at] = rng.choice(_TOKENS)
        elif kind == 2:
            words[at:at] = words[at:] * rng.choice((1, 2, 20))
        elif len(words) > 1:
            del words[at]
    holder["query"] = " ".join(words)
    return json.dumps(message).encode()


def _with_bytes(message: dict[str, Any], rng: random.Random) -> bytes:
    """Flip, drop, double and insert bytes."""
    data = bytearray(json.dumps(message).encode())
    for _ in range(rng.choice(_STEPS)):
        rng.choice(_CHANGES)(data, rng)
    return bytes(data)


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _drop(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.randint(1, 20)]


def _double(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.randint(1, 60)] * rng.choice((1, 1, 50))


def _insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(_BYTES)


_CHANGES: Final[Sequence[Callable[[bytearray, random.Random], None]]] = (_flip, _drop, _double, _insert)
