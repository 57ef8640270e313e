"""Purging: when the time is over in which a deletion can be undone, every store is erased, and a certificate says so.

`python -m storage.purges` checks certificates, and purges again whom a restored backup has brought back.
"""

from storage.purges.purging import (
    OWN,
    Purges,
    acknowledge,
    count_due,
    fetch_acknowledged,
    fetch_certificate,
    fetch_certificates_of,
    fetch_due,
)

__all__ = [
    "OWN",
    "Purges",
    "acknowledge",
    "count_due",
    "fetch_acknowledged",
    "fetch_certificate",
    "fetch_certificates_of",
    "fetch_due",
]
