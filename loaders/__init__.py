"""Ids in, values out: batched per operation over what the process remembers; decisions are never remembered."""

from loaders.caches import Caches, open_caches
from loaders.loaders import Loaders

__all__ = ["Caches", "Loaders", "open_caches"]
