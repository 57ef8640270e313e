"""Signing out: the viewer's own session, or every one that there is."""

import time

from domain.errors import Unauthenticated
from domain.revocations import Revocation, RevocationKind
from resolvers.context import Context, require_viewer
from storage.revocations import revoke


async def sign_out(context: Context, *, everywhere: bool) -> None:
    """End the session of the token that asks, or all tokens that the viewer has; their connections end as well."""
    viewer_id = await require_viewer(context)
    credentials = context.credentials
    if credentials is None:
        raise Unauthenticated
    if everywhere:
        kind, name = RevocationKind.EARLIER, ""
    elif credentials.session is not None:
        kind, name = RevocationKind.SESSION, credentials.session
    else:
        kind, name = RevocationKind.TOKEN, credentials.token_id
    now = time.time()
    await revoke(context.database, Revocation(viewer_id, kind, name, now, now + context.backend.token_life))
    context.backend.bell.ring(context.database.shards.home(viewer_id))
