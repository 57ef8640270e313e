"""The composition root: settings → cells, channels, schema → the aiohttp application.

`python server.py` runs the main job: in development everything (`development.py`), in production the web server.
"""

import asyncio
import contextlib
import functools
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import uvloop
from aiohttp import web

import development
from auth.issuers import open_issuers
from auth.verifier import Verifier
from domain.digests import Digests
from domain.errors import TokenRejected
from domain.follow_limits import FollowLimits
from domain.ids import OpaqueIds
from domain.pages import Cursors
from embedded.configured import find_addresses
from events.broadcast import Broadcast
from events.remembering import forget_what_changed
from execution.engine import Engine, PlanMode
from execution.persisted import PersistedDocuments
from execution.trusted import BadManifest, read_manifest
from keys import load_keys
from loaders import describe, open_caches
from logs import configure_logs
from resolvers.consistency import ConsistencyTokens
from resolvers.context import Backend
from resolvers.presence import Presence
from resolvers.revocations import Revocations
from schema.schema import GRAPHQL_SCHEMA
from settings import Settings, SettingsError, leaving_on_bad_settings, load_or_exit
from storage.cells import open_cells
from storage.channels import Listeners
from storage.named_world import ABOUT
from storage.outbox import Bell
from storage.persisted_documents import PersistedInRedis
from storage.redis_client import open_redis
from storage.replicas import open_replicas
from transport.access import Access
from transport.app import Parts, make_app
from transport.graphiql import Explorer, Person
from transport.health import Ping
from transport.lines import Caps
from transport.patience import Patience

DIST: Final = Path(__file__).parent / "graphiql" / "dist"
KEEPALIVE_S: Final = 30.0
SHUTDOWN_S: Final = 5.0
LAST_S: Final = 20.0
"""When a server that cannot close what it works with ends all the same."""
READ_TIMEOUT_S: Final = 2.0


@contextlib.asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Open everything that the web server works with; closed in reverse order."""
    addresses, keys = find_addresses(settings), load_keys(settings)
    ids = OpaqueIds(keys.opaque_ids)
    async with contextlib.AsyncExitStack() as stack:
        issuers = await stack.enter_async_context(open_issuers(settings))
        verifier = Verifier(issuers.all, audience=settings.auth_audience)
        most = settings.cell_connections
        opening = open_cells(addresses.postgres_dsns, connections=most, read_timeout=READ_TIMEOUT_S)
        shards = await stack.enter_async_context(opening)
        redis = await stack.enter_async_context(open_redis(addresses.redis_url))
        listeners = await stack.enter_async_context(Listeners(addresses.redis_url))
        bell = Bell()
        stack.push_async_callback(bell.close)
        replicas = await stack.enter_async_context(open_replicas(shards, settings.replicas))
        digests = Digests(keys.audit_digests)
        caches = await stack.enter_async_context(open_caches(shards, ids, redis, replicas=replicas, digests=digests))
        hear = functools.partial(forget_what_changed, caches.database, caches)
        hearing = Broadcast(addresses.kafka_bootstrap, on_change=hear, on_gap=caches.forget_all)
        await stack.enter_async_context(hearing.listening())
        await stack.enter_async_context(caches.trusting(lambda: hearing.silent_for))
        limits = FollowLimits(settings.follow_limit, settings.follow_free, settings.follow_ratio)
        tokens = ConsistencyTokens(keys.consistency)
        backend = Backend(caches, Cursors(keys.cursors), tokens, listeners, bell, limits, issuers.longest_life)
        presence = await stack.enter_async_context(Presence(backend.database, listeners).watching())
        revocations = Revocations(backend.database, listeners, on_revoked=presence.end)
        await stack.enter_async_context(revocations.watching())
        cells: dict[str, Ping] = {f"cell {cell.number}": cell.ping for cell in shards.cells}
        persisted = PersistedDocuments(
            PersistedInRedis(redis), trusted_documents(settings), only_trusted=settings.only_trusted
        )
        yield Parts(
            engine=Engine(GRAPHQL_SCHEMA, introspection=not settings.is_production, plans=PlanMode(settings.plans)),
            persisted=persisted,
            backend=backend,
            presence=presence,
            access=Access(verifier, ids, revocations),
            caps=Caps(settings.sockets, settings.sockets_per_user, settings.sockets_per_address),
            explorer=None if settings.is_production else Explorer(DIST, people=lambda: _people(settings, verifier)),
            allowed_origins=settings.allowed_origins,
            needed={**cells, **issuers.pings},
            helpful={"redis": redis.ping},
            patience=Patience(settings.query_timeout, settings.mutation_timeout),
            memory=None if settings.is_production else functools.partial(describe, caches),
        )


def trusted_documents(settings: Settings) -> Mapping[str, str]:
    """Read the manifest of trusted documents, if there is one.

    Raises:
        SettingsError: it cannot be used.
    """
    if settings.trusted_documents is None:
        return {}
    try:
        return read_manifest(settings.trusted_documents, GRAPHQL_SCHEMA, introspection=not settings.is_production)
    except BadManifest as error:
        raise SettingsError(f"The file of KITH_TRUSTED_DOCUMENTS {error}.") from error


def _people(settings: Settings, verifier: Verifier) -> list[Person]:
    """Read the named people's tokens for the explorer page, as the main job last wrote them."""
    try:
        tokens = json.loads((settings.data_dir / development.TOKENS_FILE).read_text())
        return [Person(name, verifier.verify(token).subject, token, ABOUT[name]) for name, token in tokens.items()]
    except (OSError, ValueError, KeyError, TokenRejected):
        return []


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then close sockets with 1001, let requests finish, and stop."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with open_parts(settings) as parts:
        runner = web.AppRunner(
            make_app(parts), access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=SHUTDOWN_S
        )
        await runner.setup()
        port = settings.port or development.DEFAULT_PORT
        await web.TCPSite(runner, settings.host, port, reuse_port=settings.workers > 1 or None).start()
        # What start-up made stays for good: the collector need not look at it again.
        gc.freeze()
        await stop.wait()
        asyncio.get_running_loop().call_later(LAST_S, os._exit, 1)
        await runner.cleanup()


def main(arguments: list[str]) -> int:
    """Run one web server (`web`), or the main job."""
    settings = load_or_exit()
    with leaving_on_bad_settings():
        if arguments == ["web"] or (settings.is_production and settings.workers == 1):
            configure_logs()
            uvloop.run(serve(settings))
            return 0
        trusted_documents(settings)  # a child that cannot start would be started again and again
        return development.run(settings)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
