"""The composition root: settings → cells, channels, schema → the aiohttp application.

`python server.py` runs the main job: in development everything (`development.py`), in production the web server.
"""

import argparse
import asyncio
import contextlib
import functools
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import uvloop

import development
from auth.issuers import issues_development_tokens, open_issuers
from auth.verifier import Verifier
from domain.digests import Digests
from domain.errors import TokenRejected
from domain.follow_limits import FollowLimits
from domain.ids import OpaqueIds
from domain.links import SignedLinks
from domain.pages import Cursors
from domain.probes import Ping
from domain.repeats import RepeatKeys
from domain.scopes import Scope
from embedded.configured import find_addresses
from events.broadcast import Broadcast
from events.remembering import forget_what_changed
from execution.engine import Engine, PlanMode
from execution.persisted import PersistedDocuments
from execution.trusted import BadManifest, read_manifest
from keys import Keys, load_keys, load_master_keys
from listeners import CannotListen, bind, bind_internal, inherited, listening, read_certificate
from loaders import Bounds, describe, open_caches
from logs import configure_logs
from resolvers.consistency import ConsistencyTokens
from resolvers.context import Backend
from resolvers.presence import Presence
from resolvers.quotas import Limited, Terms
from resolvers.revocations import Revocations
from schema.schema import GRAPHQL_SCHEMA
from settings import Settings, SettingsError, leaving_on_bad_settings, load_or_exit
from storage.budgets import Budgets
from storage.cells import open_cells
from storage.channels import Listeners
from storage.key_service import KeyServiceAddress, open_master_keys
from storage.line_leases import LineLeases
from storage.named_world import ABOUT
from storage.outbox import Bell
from storage.persisted_documents import PersistedInRedis
from storage.rate_windows import RateWindows
from storage.redis_client import Redis, open_redis
from storage.replicas import open_replicas
from storage.vault import Vault
from transport.access import Access
from transport.admission import ADMISSION
from transport.app import SHORT_WAY, Parts, make_app
from transport.connections import ConnectionCaps
from transport.failures import FORM
from transport.graphiql import Explorer, Person, SignIn
from transport.internal import make_internal_app
from transport.lines import Caps
from transport.patience import Patience
from transport.serving import Serving, want_descriptors

DIST: Final = Path(__file__).parent / "graphiql" / "dist"
LAST_S: Final = 20.0
"""When a server that cannot close what it works with ends all the same."""
YOUNG: Final = 20_000
"""How many new objects make the collector look at them: most of what requests leave is freed without it."""
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
        bounds = Bounds.within(settings.cache_mb)
        opening_caches = open_caches(shards, ids, redis, bounds, replicas=replicas, digests=digests)
        caches = await stack.enter_async_context(opening_caches)
        hear = functools.partial(forget_what_changed, caches.database, caches)
        hearing = Broadcast(addresses.kafka_bootstrap, on_change=hear, on_gap=caches.forget_all)
        await stack.enter_async_context(hearing.listening())
        await stack.enter_async_context(caches.trusting(lambda: hearing.silent_for))
        limits = FollowLimits(settings.follow_limit, settings.follow_free, settings.follow_ratio)
        tokens = ConsistencyTokens(keys.consistency)
        opening_masters = open_master_keys(load_master_keys(settings), KeyServiceAddress.of(*settings.key_service))
        masters = await stack.enter_async_context(opening_masters)
        quotas = await stack.enter_async_context(_open_quotas(settings, keys, redis))
        backend = Backend(
            caches,
            Cursors(keys.cursors),
            tokens,
            listeners,
            bell,
            Vault(masters),
            limits,
            issuers.longest_life,
            SignedLinks(keys.links),
            quotas,
            RepeatKeys(keys.repeats),
        )
        leases = await stack.enter_async_context(LineLeases(redis).renewing())
        presence = await stack.enter_async_context(Presence(backend.database, listeners, leases).watching())
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
            access=Access(verifier, ids, revocations, settings.proxies),
            caps=Caps(settings.sockets, settings.sockets_per_user, settings.sockets_per_address),
            explorer=None if settings.is_production else _explorer(settings, verifier),
            allowed_origins=settings.allowed_origins,
            needed={**cells, **issuers.pings},
            helpful={"redis": redis.ping},
            patience=Patience(settings.query_timeout, settings.mutation_timeout),
            memory=None if settings.is_production else functools.partial(describe, caches),
        )


@contextlib.asynccontextmanager
async def _open_quotas(settings: Settings, keys: Keys, redis: Redis) -> AsyncIterator[Limited]:
    terms = Terms(settings.budget, settings.budget_per_address, settings.enforces_limits)
    budgets, windows = Budgets(redis), RateWindows(redis)
    yield Limited(budgets, windows, Digests(keys.rate_limits), terms)
    await budgets.settle()
    await windows.close()


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


def _explorer(settings: Settings, verifier: Verifier) -> Explorer:
    """Make the explorer page; where an auth service of ours runs beside, it signs people in."""
    url, scope = settings.identity_url, " ".join(["openid", *Scope])
    sign_in = SignIn(url, "graphiql", scope) if url is not None and issues_development_tokens(settings) else None
    return Explorer(DIST, people=lambda: _people(settings, verifier), sign_in=sign_in)


def _people(settings: Settings, verifier: Verifier) -> list[Person]:
    """Read the named people's tokens for the explorer page, as the main job last wrote them."""
    try:
        tokens = json.loads((settings.data_dir / development.TOKENS_FILE).read_text())
        return [Person(name, verifier.verify(token).subject, token, ABOUT[name]) for name, token in tokens.items()]
    except (OSError, ValueError, KeyError, TokenRejected):
        return []


async def serve(settings: Settings, sockets: development.Sockets, tell: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; then close sockets with 1001, let requests finish, and stop.

    Calls `tell` once connections are accepted.
    """
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    caps = ConnectionCaps(settings.connections, settings.connections_per_address)
    want_descriptors(settings.connections)
    async with open_parts(settings) as parts:
        app = make_app(parts)
        early, short, tls = app[ADMISSION].early, app[SHORT_WAY].take, read_certificate(settings)
        serving = Serving(app, caps=caps, form=FORM, early=early, short=short, tls=tls)
        inner = Serving(make_internal_app(parts.backend, load_keys(settings).commands), caps=caps, form=FORM)
        await serving.start(sockets.public)
        await inner.start(sockets.internal)
        # What start-up made stays for good: the collector need not look at it again.
        gc.freeze()
        gc.set_threshold(YOUNG)
        tell()
        await stop.wait()
        asyncio.get_running_loop().call_later(LAST_S + settings.drain_delay, os._exit, 1)
        await asyncio.gather(serving.stop(notice=settings.drain_delay), inner.stop(notice=settings.drain_delay))


def main(arguments: list[str]) -> int:
    """Run one web server (`web`), or the main job."""
    asked = _read(arguments)
    settings = load_or_exit()
    with leaving_on_bad_settings():
        if asked.part == "web" or (settings.is_production and settings.workers == 1):
            return _run_web(settings, asked)
        trusted_documents(settings)  # a child that cannot start would be started again and again
        read_certificate(settings)
        return development.run(settings)


def _read(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="server.py", description="Run the main job, or one web server.")
    parser.add_argument("part", nargs="?", choices=["web"], help="one web server")
    parser.add_argument("--listen", metavar="FD,…", help="listening sockets that were handed on")
    parser.add_argument("--internal", metavar="FD,…", help="the same, for the auth service's commands")
    parser.add_argument("--serves", metavar="FILE", type=Path, help="a file to make once connections are accepted")
    return parser.parse_args(arguments)


def _run_web(settings: Settings, asked: argparse.Namespace) -> int:
    configure_logs()
    try:
        sockets = _sockets(settings, asked)
    except CannotListen as error:
        sys.stderr.write(f"kith: {error}\n")
        return 1
    with listening(sockets.public), listening(sockets.internal):
        uvloop.run(serve(settings, sockets, lambda: None if asked.serves is None else asked.serves.touch()))
    return 0


def _sockets(settings: Settings, asked: argparse.Namespace) -> development.Sockets:
    """Take what was handed on, or else bind; commands are heard only where a port says so."""
    if asked.listen is not None:
        return development.Sockets(inherited(asked.listen), inherited(asked.internal) if asked.internal else ())
    inner = bind_internal(settings) if settings.internal_port is not None else ()
    return development.Sockets(bind(settings), inner)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
