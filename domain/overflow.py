"""What becomes of events that come faster than a subscriber takes them."""

import enum


class OverflowPolicy(enum.Enum):
    """The subscriber's choice; part of the schema."""

    CLOSE = "CLOSE"
    DROP_OLDEST = "DROP_OLDEST"
    COALESCE = "COALESCE"
