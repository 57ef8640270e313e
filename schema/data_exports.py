"""The viewer's export of the own data."""

import datetime as dt
from collections.abc import Sequence

import strawberry

from privacy.policy import Visible
from resolvers import exports
from resolvers.context import Context
from resolvers.exports import ExportView


@strawberry.type(description="An archive of the viewer's own data: a zip of JSON files, each beside its schema.")
class DataExport:
    """Source: `resolvers.exports.ExportView`."""

    requested_at: dt.datetime
    progress: float = strawberry.field(description="The part that is done, from 0 to 1.")
    expires_at: dt.datetime | None = strawberry.field(description="Until when it can be had; null until it is ready.")
    path: str | None = strawberry.field(
        description="Where this service has it, once it is ready: a signed link, good for ten minutes; ask for it anew."
    )


async def data_export(context: Context, owners: Sequence[Visible]) -> list[ExportView | None]:
    """Give the viewer's export, if one was asked for; null once it has expired."""
    return await exports.fetch_own(context, [owner.user.id for owner in owners])
