"""Ids in, values out: batched per operation, never shared between viewers."""

from loaders.loaders import Loaders

__all__ = ["Loaders"]
