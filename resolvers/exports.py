"""The viewer's export: asking for it, seeing how far it is, and the link under which it is fetched."""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final

from domain.exports import Export
from domain.ids import NodeType
from resolvers.context import Backend, Context, require_viewer
from resolvers.step_up import require_recent_sign_in
from storage.exports import fetch_archive, fetch_export, request_export

LINK_LIVES_S: Final = 600


@dataclasses.dataclass(frozen=True, slots=True)
class ExportView:
    """An export as its owner sees it; `path` is where it is fetched, for ten minutes, once it is ready."""

    requested_at: dt.datetime
    progress: float
    expires_at: dt.datetime | None
    path: str | None


async def request_own(context: Context) -> ExportView | None:
    """Ask for an export of the viewer's data; one at a time, and one a day.

    Raises:
        StepUpRequired: the viewer has not signed in just now.
    """
    viewer_id = await require_viewer(context)
    require_recent_sign_in(context)
    return _view(context, await request_export(context.database, viewer_id, context.now))


async def fetch_own(context: Context, owner_ids: Sequence[int]) -> list[ExportView | None]:
    """Give how far the exports of these people, the viewer alone, have come."""
    return [_view(context, await fetch_export(context.database, owner_id)) for owner_id in owner_ids]


def _view(context: Context, export: Export | None) -> ExportView | None:
    if export is None or (export.expires_at is not None and export.expires_at <= context.now):
        return None
    path = f"/v1/exports/{_token(context, export)}" if export.expires_at is not None else None
    return ExportView(export.requested_at, export.progress, export.expires_at, path)


def _token(context: Context, export: Export) -> str:
    """Sign a link; whoever has not signed in just now gets none."""
    opaque = context.ids.encode(NodeType.USER, export.user_id)
    return context.backend.links.issue(f"{opaque} {export.id}", context.now.timestamp() + LINK_LIVES_S)


async def fetch_linked(backend: Backend, token: str) -> bytes | None:
    """Fetch the archive to which a link leads; None where it leads nowhere, or its time is over."""
    now = dt.datetime.now(dt.UTC)
    opaque, _, export_id = (backend.links.read(token, now.timestamp()) or "").partition(" ")
    user_id = backend.database.ids.decode(NodeType.USER, opaque)
    if user_id is None:
        return None
    return await fetch_archive(backend.database, backend.vault, user_id, uuid.UUID(export_id), now)
