"""Run the real PostgreSQL, Valkey and a Kafka-compatible broker from wheels, as children of our own process."""

from embedded.addresses import Addresses, Part
from embedded.child import Child
from embedded.errors import AlreadyRunning, EmbeddedError
from embedded.lock import running
from embedded.services import Services
from embedded.supervisor import Supervisor

__all__ = [
    "Addresses",
    "AlreadyRunning",
    "Child",
    "EmbeddedError",
    "Part",
    "Services",
    "Supervisor",
    "running",
]
