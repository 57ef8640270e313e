"""How often things may be done: a budget for all that is asked, and limits for what is worth abusing."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping
from typing import Final

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86_400


class OperationClass(enum.Enum):
    """What is limited by itself, whatever it costs; part of the schema."""

    SIGN_UP = "SIGN_UP"
    SIGN_IN = "SIGN_IN"
    SECOND_FACTOR = "SECOND_FACTOR"
    RECOVERY = "RECOVERY"
    TOKEN = "TOKEN"  # noqa: S105 - what is limited
    RENAME = "RENAME"
    AVAILABILITY = "AVAILABILITY"
    FOLLOW = "FOLLOW"
    BLOCK = "BLOCK"
    CONSENT = "CONSENT"


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds, whenever those begin."""

    amount: int
    seconds: int


@dataclasses.dataclass(frozen=True, slots=True)
class Rates:
    """The rates of a class: what one account may do, and what may come from one address, whoever it is for.

    `client` is what one application may do at one address: an application has no secret, and whoever used up a limit of
    all its people would keep them out.
    """

    account: tuple[Rate, ...] = ()
    address: tuple[Rate, ...] = ()
    client: tuple[Rate, ...] = ()


RATES: Final[Mapping[OperationClass, Rates]] = {
    OperationClass.SIGN_UP: Rates(
        account=(Rate(3, HOUR_S), Rate(10, DAY_S)), address=(Rate(10, HOUR_S), Rate(50, DAY_S))
    ),
    OperationClass.SIGN_IN: Rates(account=(Rate(10, 15 * MINUTE_S),), address=(Rate(50, 15 * MINUTE_S),)),
    OperationClass.SECOND_FACTOR: Rates(
        account=(Rate(5, 5 * MINUTE_S), Rate(20, DAY_S)), address=(Rate(50, 15 * MINUTE_S),)
    ),
    OperationClass.RECOVERY: Rates(account=(Rate(3, HOUR_S),), address=(Rate(10, HOUR_S),)),
    OperationClass.TOKEN: Rates(
        account=(Rate(60, 10 * MINUTE_S),), address=(Rate(600, MINUTE_S),), client=(Rate(300, MINUTE_S),)
    ),
    OperationClass.RENAME: Rates(account=(Rate(10, HOUR_S), Rate(30, DAY_S))),
    OperationClass.AVAILABILITY: Rates(account=(Rate(60, MINUTE_S),), address=(Rate(120, MINUTE_S),)),
    OperationClass.FOLLOW: Rates(account=(Rate(60, MINUTE_S), Rate(1000, DAY_S)), address=(Rate(600, MINUTE_S),)),
    OperationClass.BLOCK: Rates(account=(Rate(120, MINUTE_S),), address=(Rate(1200, MINUTE_S),)),
    OperationClass.CONSENT: Rates(account=(Rate(60, HOUR_S),)),
}
"""A rename counts when it is tried; how many succeed is limited in `domain/renaming.py`. Following and unfollowing
count together, as do blocking and unblocking. A signed-in account counts for itself and for its address; where an
account is only claimed, as in signing in, it is the one that is claimed; where tokens are renewed, it is the family."""


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """How much of a limit is used up, and when it is whole again."""

    limit: int
    used: int
    resets_at: dt.datetime
    seconds: int

    @property
    def remaining(self) -> int:
        """Give how much is left."""
        return max(0, self.limit - self.used)
