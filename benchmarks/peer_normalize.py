"""What the harness of peers needs to compare answers: a list that is hidden is null here, and empty there."""

from typing import Any

_EMPTY = {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}


def normalize(case: str, data: Any) -> Any:
    """Give an answer in the form of the harness."""
    if isinstance(data, list):
        return [normalize(case, item) for item in data]
    if not isinstance(data, dict):
        return data
    empty = {"edges": []} if case == "two_level" else _EMPTY
    return {
        name: empty if value is None and name in ("followers", "following") else normalize(case, value)
        for name, value in data.items()
    }
