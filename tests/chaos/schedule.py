"""Which part fails when, from a seed."""

import dataclasses
import random
from collections.abc import Sequence
from typing import Final

PARTS: Final = ("PostgreSQL", "Valkey", "Kafka broker", "relay", "consumer", "web")
BROKER: Final = "Kafka broker"


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One part is killed, or frozen for so many seconds, once so many mutations were acknowledged."""

    part: str
    at: int
    frozen_s: float = 0.0


def schedule(seed: int, *, mutations: int, kills: int, broker_kills: int, frozen_s: float) -> Sequence[Fault]:
    """Kill every part `kills` times, the broker `broker_kills` times, and freeze the broker once, in any order."""
    chance = random.Random(seed)
    faults = [(part, 0.0) for part in PARTS for _ in range(broker_kills if part == BROKER else kills)]
    faults.append((BROKER, frozen_s))
    chance.shuffle(faults)
    step = mutations / (len(faults) + 1)
    return [Fault(part, round((number + 1) * step), frozen) for number, (part, frozen) in enumerate(faults)]
