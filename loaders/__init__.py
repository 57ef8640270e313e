"""Ids in, values out: batched per operation over what the process remembers; decisions are never remembered."""

from loaders.asker import NO_FLOORS, Floors
from loaders.caches import Bounds, Caches, open_caches
from loaders.inspection import describe
from loaders.loaders import Loaders

__all__ = ["NO_FLOORS", "Bounds", "Caches", "Floors", "Loaders", "describe", "open_caches"]
