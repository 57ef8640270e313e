"""What is counted of execution. Labels are closed sets: never a name, an id or a text of a client."""

from typing import Final

from prometheus_client import Counter

from execution.tallies import CounterTally

OPERATIONS: Final = Counter(
    "kith_plan_operations_total",
    "Operations by what ran them: a plan, or graphql-core and why (`new`: the document is seen for the first time).",
    ["ran"],
)
PLANNED: Final = CounterTally(OPERATIONS.labels("plan"))
SHADOWED: Final = Counter(
    "kith_plan_shadow_total", "Operations run both ways for comparison, by what differed.", ["difference"]
)
