"""What is counted of the front door. Labels are closed sets: never a name, an id or a text of a client."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from execution.tallies import publish

PUBLISH_EVERY_S: Final = 1.0
OPERATIONS: Final = Histogram(
    "kith_operation_seconds",
    "Time from a request to its answer, by operation type and outcome.",
    ["type", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
REFUSALS: Final = Counter("kith_refusals_total", "Requests that were refused before execution, by code.", ["code"])
LAG: Final = Gauge("kith_loop_lag_seconds", "How late the event loop typically is.", multiprocess_mode="livemax")
ADMITTED: Final = Gauge("kith_admission_limit", "How many operations may run at once.", multiprocess_mode="livesum")
WAITING: Final = Gauge(
    "kith_admission_waiting", "How many operations wait for their turn.", multiprocess_mode="livesum"
)
SOCKETS: Final = Gauge("kith_sockets", "Open WebSockets and event streams.", ["transport"], multiprocess_mode="livesum")
CLOSINGS: Final = Counter(
    "kith_socket_closings_total",
    "Ends of WebSockets and event streams, by close code; `peer` where the other side went.",
    ["transport", "code"],
)
SUBSCRIPTIONS: Final = Gauge("kith_subscriptions", "Running subscriptions.", multiprocess_mode="livesum")
DELIVERED: Final = Counter("kith_delivered_events_total", "Events that were sent to subscribers.")
DROPPED: Final = Counter("kith_dropped_events_total", "Events that subscribers chose to lose by taking them late.")
BACKLOG: Final = Histogram(
    "kith_subscription_backlog_events",
    "Events that were read and waited behind the one that was sent; 100 at most.",
    buckets=(0, 1, 2, 5, 10, 20, 50, 100),
)


def render() -> bytes:
    """Give all metrics in Prometheus's text form: of every process of a run where they share a folder."""
    publish()
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # the library does not annotate it
    return generate_latest(registry)


async def published(_app: web.Application) -> AsyncIterator[None]:
    """Publish what this process counts while the application runs, for other processes that are asked for it."""
    publishing = asyncio.create_task(_publish())
    yield
    publishing.cancel()
    await asyncio.wait({publishing})
    publish()


async def _publish() -> None:
    while True:
        await asyncio.sleep(PUBLISH_EVERY_S)
        publish()


async def serve_metrics(_request: web.Request) -> web.Response:
    """Answer `GET /metrics`."""
    return web.Response(body=render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
