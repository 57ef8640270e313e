"""What is counted of the dependencies. Labels are closed sets: the names of dependencies, priorities and outcomes."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

BREAKER: Final = Gauge(
    "kith_breaker_open",
    "Whether calls to a dependency are refused: 1 while its breaker is open.",
    ["dependency"],
    multiprocess_mode="livemax",
)
BREAKER_OPENED: Final = Counter("kith_breaker_opened_total", "How often a breaker has opened.", ["dependency"])
REPLICA_READS: Final = Counter(
    "kith_replica_reads_total",
    "Reads that a replica may answer: who did, and why it was not a replica (or that it was fresh).",
    ["by", "why"],
)
REDIS_FAILURES: Final = Counter(
    "kith_redis_failures_total",
    "Redis calls without an answer: refused, crowded out by others of the process, late, lost, or an error.",
    ["kind"],
)
UNTOLD: Final = Counter(
    "kith_untold_changes_total",
    "Changes that could not be told to Redis: each began a new generation in the cells of its people.",
)
LIMIT: Final = Gauge(
    "kith_cell_limit",
    "How many statements and transactions a cell is given at once.",
    ["dependency"],
    multiprocess_mode="livesum",
)
IN_FLIGHT: Final = Gauge(
    "kith_cell_in_flight",
    "Statements and transactions that a cell works on.",
    ["dependency"],
    multiprocess_mode="livesum",
)
QUEUED: Final = Gauge(
    "kith_cell_queued",
    "Statements and transactions that wait for a place.",
    ["dependency"],
    multiprocess_mode="livesum",
)
SHED: Final = Counter(
    "kith_cell_shed_total", "Statements and transactions refused for lack of a place.", ["dependency", "priority"]
)
REFUSED: Final = Counter(
    "kith_cell_refused_total", "Statements and transactions refused because the breaker is open.", ["dependency"]
)
DEADLINES: Final = Counter(
    "kith_deadline_exceeded_total",
    "Statements and transactions ended by the deadline of their request.",
    ["dependency"],
)
UNREADABLE: Final = Counter("kith_unreadable_details_total", "Personal details that could not be decrypted.")
KEY_CALLS: Final = Counter(
    "kith_key_service_calls_total",
    "Calls to the service that keeps the master keys: ok, refused by the breaker, late, or lost.",
    ["operation", "outcome"],
)
KEY_SECONDS: Final = Histogram(
    "kith_key_service_seconds", "How long the service that keeps the master keys takes to answer.", ["operation"]
)
RATE_LIMITED: Final = Counter(
    "kith_rate_limited_total",
    "Operations beyond a limit, by the limit (BUDGET, or a class of operations): refused, or only counted.",
    ["limit", "outcome"],
)
