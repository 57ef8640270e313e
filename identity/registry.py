"""What the auth service serves, and what it does beside that: the one list of both."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final

from aiohttp import web

from identity import authorization, courier, departures, discovery, posting, reconciler, sweeping, tokens
from identity.pages.routes import routes as pages
from identity.parts import Parts

Routes = Callable[[Parts], Iterable[web.AbstractRouteDef]]
"""Makes the routes of one part of the service."""
Task = Callable[[Parts], AbstractAsyncContextManager[object]]
"""Does something for as long as its context is open; entered in order, left in reverse."""

ROUTES: Final[tuple[Routes, ...]] = (discovery.routes, authorization.routes, tokens.routes, pages)
TASKS: Final[tuple[Task, ...]] = (
    posting.post,
    sweeping.sweeping,
    courier.couriers,
    reconciler.reconcilers,
    departures.departures,
)
