"""JSON that every reader reads alike: one object, no name twice, no number that JSON does not know."""

import json
from typing import Any, Final, NoReturn


def read_object(text: bytes) -> dict[str, Any]:
    """Read an object.

    Raises:
        ValueError: it is none, it holds a name twice at any depth, or a number such as NaN.
        RecursionError: it is too deep.
    """
    value = _STRICT.decode(text.decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - what is wrong is the text
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name is given twice")
    return names


def _refuse(_constant: str) -> NoReturn:
    raise ValueError("not a number of JSON")


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)
