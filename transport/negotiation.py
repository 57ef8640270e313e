"""Which media type an answer has: one of the two of GraphQL over HTTP, the page's, or an event stream's."""

import functools
from collections.abc import Sequence
from typing import Final

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"
HTML: Final = "text/html"
EVENTS: Final = "text/event-stream"
_OFFERED: Final = (GRAPHQL_RESPONSE, JSON)
_MAX_RANGES: Final = 32
_REMEMBERED: Final = 128
"""Clients of one make all send the same."""


def accepted(values: Sequence[str]) -> str | None:
    """Give what a request accepts: several `Accept` headers are one list."""
    return ", ".join(values) if values else None


@functools.lru_cache(maxsize=_REMEMBERED)
def negotiate(accept: str | None) -> str | None:
    """Choose by the `Accept` header; None where nothing fits. A client that does not say gets application/json."""
    if accept is None or not accept.strip():
        return JSON
    ranges = _ranges(accept)
    best = max(_OFFERED, key=lambda offer: (_quality(offer, ranges), offer == _preferred(ranges)))
    return best if _quality(best, ranges) > 0 else None


def wants_page(accept: str | None) -> bool:
    """Tell whether a browser asks for a page: it names text/html itself."""
    return any(media_type == HTML and quality > 0 for media_type, quality in _ranges(accept or ""))


@functools.lru_cache(maxsize=_REMEMBERED)
def takes_events(accept: str | None) -> bool:
    """Tell whether an event stream will do: the client names the type itself."""
    return any(media_type == EVENTS and quality > 0 for media_type, quality in _ranges(accept or ""))


def _preferred(ranges: list[tuple[str, float]]) -> str:
    """Break a tie: the type that is named first, or application/json under a mere wildcard."""
    named = [media_type for media_type, _ in ranges if media_type in _OFFERED]
    return named[0] if named else JSON


def _ranges(accept: str) -> list[tuple[str, float]]:
    ranges = []
    for part in accept.split(",")[:_MAX_RANGES]:
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        ranges.append((media_type, _weight(parameters)))
    return ranges


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """Weigh an offer by the most specific range that covers it."""
    weights = dict(reversed(ranges))
    for candidate in (offer, offer.split("/", maxsplit=1)[0] + "/*", "*/*"):
        if candidate in weights:
            return weights[candidate]
    return 0.0
