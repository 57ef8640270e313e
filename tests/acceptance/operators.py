"""A web server with production's settings on the parts of a development run, as an operator starts it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.acceptance.main_job import UP_WITHIN_S, MainJob, free_port, launch
from tests.acceptance.people import People
from tests.acceptance.probes import send


@contextlib.asynccontextmanager
async def serving_production(people: People, folder: Path, **variables: str) -> AsyncIterator[MainJob]:
    """Run the server with every address and key set, nothing embedded, and whatever else is given."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - the test waits for it alone
    (folder / "keys.json").write_text(json.dumps({"keys": [people.key.as_dict(private=False)]}))
    addresses = json.loads((people.job.data_dir / "run.json").read_text())["addresses"]
    needed = {
        "KITH_ENV": "production",
        "KITH_POSTGRES_DSNS": ",".join(addresses["postgres_dsns"]),
        "KITH_REDIS_URL": addresses["redis_url"],
        "KITH_KAFKA_BOOTSTRAP": addresses["kafka_bootstrap"],
        "KITH_SECRET_KEY": (people.job.data_dir / "secret.key").read_text().strip(),
        "KITH_AUTH_JWKS_FILE": str(folder / "keys.json"),
        "KITH_AUTH_ISSUER": "https://auth.kith.localhost",
        "KITH_AUTH_AUDIENCE": "kith",
    }
    made = launch(folder, port=free_port(), cells=1, **needed, **variables)
    try:
        await answering(made)
        yield made
        made.process.terminate()
        assert await made.ended() == 0, made.said()
    finally:
        made.process.kill()
        made.process.wait()


async def answering(job: MainJob) -> None:
    """Wait until the server answers."""
    async with asyncio.timeout(UP_WITHIN_S):
        while job.process.poll() is None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await send(job, method="GET")
                return
            await asyncio.sleep(0.05)
    raise AssertionError(job.said())
