"""What a person has agreed to and has refused: of each purpose the newest decision is in force."""

import dataclasses
import datetime as dt
import enum
import re
from typing import Final

_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class ConsentPurpose(enum.IntEnum):
    """What a decision is about. The numbers are stored."""

    TERMS_OF_SERVICE = 1
    PRIVACY_POLICY = 2
    MARKETING = 3
    DATA_SHARING = 4


class ConsentSource(enum.IntEnum):
    """Who has said so: the person, or the person's browser by `Sec-GPC`. The numbers are stored."""

    PERSON = 1
    GLOBAL_PRIVACY_CONTROL = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What somebody says: yes or no to a purpose, and to which version of its text where it has one."""

    purpose: ConsentPurpose
    granted: bool
    version: str | None = None
    source: ConsentSource = ConsentSource.PERSON


@dataclasses.dataclass(frozen=True, slots=True)
class Consent:
    """A decision as the ledger keeps it; a person's are numbered from 1."""

    number: int
    decision: Decision
    at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class DataSharing:
    """Whether a person's data may be sold or shared with third parties, as the California Consumer Privacy Act has it.

    `since` and `source` are those of the decision in force; None where there is none.
    """

    opted_out: bool = False
    since: dt.datetime | None = None
    source: ConsentSource | None = None
    signalled: bool = False
    """Whether this very request carries the signal, and is to be treated as opted out whatever is stored."""


def is_version(text: str) -> bool:
    """Tell whether a text can name the version of a document, such as `2026-11-01`."""
    return _VERSION.fullmatch(text) is not None


def data_sharing_of(newest: Consent | None, *, signalled: bool) -> DataSharing:
    """Say what holds, by the newest decision about sharing and by what the request itself says."""
    if newest is None:
        return DataSharing(opted_out=signalled, signalled=signalled)
    opted_out = signalled or not newest.decision.granted
    return DataSharing(opted_out, newest.at, newest.decision.source, signalled)
