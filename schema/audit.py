"""What the viewer did, as a Relay connection."""

import datetime as dt
from collections.abc import Sequence

import strawberry

from domain.pages import page_request
from privacy.policy import Visible
from resolvers import audit
from resolvers.audit import AuditPage
from resolvers.context import Context
from schema.lists import PageInfo
from schema.users import User


@strawberry.type(description="Something that was done under the viewer's account.")
class AuditEntry:
    """Source: `resolvers.audit.ShownEntry`."""

    at: dt.datetime
    action: str = strawberry.field(description="What was done, by the name of its event, such as `follow.created`.")
    target: User | None = strawberry.field(description="To whom, if to somebody; whom the viewer blocks as a stub.")
    session_id: strawberry.ID | None = strawberry.field(description="In which of the viewer's sessions, if in one.")


@strawberry.type(description="An entry and its place.")
class AuditEdge:
    """Source: `resolvers.audit.AuditEdge`."""

    cursor: str
    node: AuditEntry


@strawberry.type(description="A page of what was done under the viewer's account, the newest first.")
class AuditConnection:
    """Source: `resolvers.audit.AuditPage`."""

    edges: list[AuditEdge]
    nodes: list[AuditEntry]
    page_info: PageInfo


async def audit_log(
    context: Context,
    owners: Sequence[Visible],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> list[AuditPage]:
    """All that was done under this account, the newest first, but to people whom the viewer cannot meet now.

    Give one of `first` and `last`, 1 to 100.
    """
    request = page_request(first, after, last, before)
    return [await audit.fetch_trail(context, owner, request) for owner in owners]
