"""What is counted of the relay and the consumers."""

from typing import Final

from prometheus_client import Counter, Gauge

OUTBOX_AGE: Final = Gauge(
    "kith_outbox_age_seconds",
    "Age of the oldest fact that is not published.",
    ["cell", "partition"],
    multiprocess_mode="livemax",
)
OUTBOX_LAG: Final = Gauge(
    "kith_outbox_lag_rows",
    "Facts that are not published, counted up to 10,000.",
    ["cell", "partition"],
    multiprocess_mode="livemax",
)
OUTBOX_STRAYS: Final = Gauge(
    "kith_outbox_stray_rows", "Facts of days that no part of the outbox was made for.", ["cell"]
)
OUTBOX_DAYS: Final = Counter("kith_outbox_days_total", "Parts of the outbox, by what was done.", ["done"])
QUARANTINED: Final = Gauge(
    "kith_outbox_quarantined_keys",
    "Keys that wait for somebody to decide about a fact that the broker refuses.",
    ["cell"],
    multiprocess_mode="livesum",
)
RELAY_LEADS: Final = Gauge(
    "kith_relay_leads",
    "How many partitions of a cell's outbox this process leads.",
    ["cell"],
    multiprocess_mode="livesum",
)
RELAY_IDEMPOTENT: Final = Gauge(
    "kith_relay_idempotent", "Whether the broker drops what is sent twice.", multiprocess_mode="livemin"
)
REFED: Final = Counter("kith_refed_events_total", "Facts fed again to a broker that had lost them.")
RELAYED: Final = Counter("kith_relayed_events_total", "Facts that the broker has acknowledged.")
RELAY_FAILURES: Final = Counter("kith_relay_failures_total", "Pauses of the relay, by reason.", ["reason"])
CONSUMED: Final = Counter("kith_consumed_events_total", "Facts whose effects are done, by type.", ["type"])
PASSED_OVER: Final = Counter("kith_passed_over_events_total", "Facts of a type or version later than this code.")
DEAD_LETTERED: Final = Counter(
    "kith_dead_lettered_records_total", "Records that a consumer could do nothing with, by reason.", ["group", "reason"]
)
DEAD_LETTERS: Final = Gauge(
    "kith_dead_letters", "Dead letters that wait for somebody.", ["group"], multiprocess_mode="livemax"
)
CONSUMER_FAILURES: Final = Counter("kith_consumer_failures_total", "Pauses of the consumer, by reason.", ["reason"])
CONSUMER_LAG: Final = Gauge(
    "kith_consumer_lag_records",
    "Records that wait to be consumed.",
    ["group", "topic", "partition"],
    multiprocess_mode="livemax",
)
CONSUMER_PARTITIONS: Final = Gauge(
    "kith_consumer_partitions", "Partitions that this process reads.", ["group"], multiprocess_mode="livesum"
)
BROADCAST_HEARD: Final = Counter("kith_broadcast_events_total", "Facts that a process heard of beside any group.")
BROADCAST_GAPS: Final = Counter(
    "kith_broadcast_gaps_total", "Times that a process may have missed facts, by reason.", ["reason"]
)
BROADCAST_SILENCE: Final = Gauge(
    "kith_broadcast_silence_seconds", "Time since a process had heard all there was.", multiprocess_mode="livemax"
)
UPKEEP_DONE: Final = Counter("kith_upkeep_total", "What upkeep has dealt with, by kind.", ["kind"])
AUDIT_UNSEALED: Final = Gauge(
    "kith_audit_unsealed_seconds",
    "For how long the oldest row of the audit log has been waiting for its seal.",
    ["cell"],
)
UPKEEP_FAILURES: Final = Counter("kith_upkeep_failures_total", "Pauses of upkeep, by reason.", ["reason"])
COUNTERS_SAMPLED: Final = Counter(
    "kith_counters_sampled_total", "People whose counters were compared with their edges."
)
COUNTERS_WRONG: Final = Counter("kith_counters_wrong_total", "People whose counters were wrong, and were mended.")
PURGES_DUE: Final = Gauge(
    "kith_purges_due",
    "People whose time to come back is over and who are not purged yet.",
    ["cell"],
    multiprocess_mode="livemax",
)
PURGED: Final = Counter("kith_purges_total", "People who were purged, by what is done: erased, certified.", ["done"])
PURGES_FAILED: Final = Counter(
    "kith_purge_failures_total", "Pauses of the purge, and people whose purge was put off, by reason.", ["reason"]
)
EXPORTS_OPEN: Final = Gauge(
    "kith_exports_open", "Exports that are to be made, or under way.", ["cell"], multiprocess_mode="livemax"
)
EXPORTED: Final = Counter("kith_exports_total", "Exports that were made.")
EXPORTS_FAILED: Final = Counter(
    "kith_export_failures_total", "Pauses of the export worker, and exports that were put off, by reason.", ["reason"]
)
