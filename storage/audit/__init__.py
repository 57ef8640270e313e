"""The audit log: who did what to whom, ids only; sealed afterwards, so that nobody changes it unseen.

`python -m storage.audit verify` checks every row and names the first bad one.
"""

from storage.audit.log import AuditEntry, AuditRow, audit_row, fetch_entries, write_audit
from storage.audit.seals import Seal, Sealer, fetch_lag, seal_new
from storage.audit.verifying import Finding, verify

__all__ = [
    "AuditEntry",
    "AuditRow",
    "Finding",
    "Seal",
    "Sealer",
    "audit_row",
    "fetch_entries",
    "fetch_lag",
    "seal_new",
    "verify",
    "write_audit",
]
