"""A property that is made when it is first asked for, and then kept: `functools.cached_property` without its lock.

Until Python 3.12 that takes a lock each time it makes something, which costs more than what is made here.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Lazy(Generic[T]):
    """Makes the value of an attribute, and puts it into its place."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    def __get__(self, instance: Any, owner: type) -> T:
        value = self._make(instance)
        instance.__dict__[self._name] = value
        return value
