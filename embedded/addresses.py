"""Where the running parts answer."""

import enum
from dataclasses import dataclass


class Part(enum.Enum):
    """A part that can be run from a wheel; the value is its name in messages."""

    POSTGRES = "PostgreSQL"
    VALKEY = "Valkey"
    BROKER = "Kafka broker"


ALL_PARTS = frozenset(Part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The addresses of the parts that were started; a part that was not started has an empty one."""

    postgres_dsns: tuple[str, ...] = ()
    redis_url: str = ""
    kafka_bootstrap: str = ""
