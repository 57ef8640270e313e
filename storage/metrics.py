"""What is counted of the dependencies. Labels are closed sets: the names of dependencies, priorities and outcomes."""

from typing import Final

from prometheus_client import Counter, Gauge

BREAKER: Final = Gauge(
    "kith_breaker_open",
    "Whether calls to a dependency are refused: 1 while its breaker is open.",
    ["dependency"],
    multiprocess_mode="livemax",
)
BREAKER_OPENED: Final = Counter("kith_breaker_opened_total", "How often a breaker has opened.", ["dependency"])
REDIS_FAILURES: Final = Counter(
    "kith_redis_failures_total",
    "Redis calls without an answer: refused, late, lost, or an error.",
    ["kind"],
)
