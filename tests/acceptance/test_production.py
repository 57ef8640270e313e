"""Two web servers with production's settings, on the parts of a development run.

`PROVE=long` replaces both twenty times instead of once.
"""

import base64
import collections
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.main_job import MainJob, until
from tests.acceptance.operators import serving_production
from tests.acceptance.people import People, claims_of, sign
from tests.acceptance.probes import GRAPHQL, expect_refusal, send, send_json, send_raw
from tests.acceptance.steady import asking
from tests.conftest import eventually
from tests.raw_sockets import TEXT, frame, open_raw

WORKERS: Final = 2
LONG: Final = os.environ.get("PROVE") == "long"
TIMES: Final = 20 if LONG else 1
SOCKETS: Final = 3
SETTINGS: Final = {
    "KITH_WORKERS": str(WORKERS),
    "KITH_SOCKETS_PER_USER": str(SOCKETS),
    "KITH_BUDGET_PER_ADDRESS": "10000000",  # the long form asks for more than the usual in a minute
}
SOME: Final = 20
READY: Final = " ready in "
QUERY: Final = '{ user(username: "star") { username followersCount } }' if LONG else "{ __typename }"
RENEWED_WITHIN_S: Final = 120.0


@pytest.fixture(scope="module")
async def job(people_of_one_cell: People, short_folder: Path) -> AsyncIterator[MainJob]:
    """Run the server as an operator would."""
    async with serving_production(people_of_one_cell, short_folder / "production", **SETTINGS) as made:
        yield made


async def test_the_page_is_not_there(job: MainJob) -> None:
    expect_refusal(await send(job, method="GET", headers={"Accept": "text/html"}), 404)
    request = b"GET /graphql/assets/x.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await send_raw(job, request))[0] == 404


async def test_what_a_process_remembers_is_not_told(job: MainJob) -> None:
    request = b"GET /debug/memory HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert (await send_raw(job, request))[0] == 404


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { name } } }",
        '{ __type(name: "User") { name } }',
        "{ ...A } fragment A on Query { __schema { description } }",
    ],
)
async def test_the_schema_is_not_told(job: MainJob, query: str) -> None:
    expect_refusal(await send_json(job, GRAPHQL, query=query), 400, "INTROSPECTION_DISABLED")


async def test_queries_are_answered_under_the_operator_s_keys(job: MainJob, people_of_one_cell: People) -> None:
    people = people_of_one_cell
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {short_token(people)}"}
    answer = await send(job, b'{"query":"{ me { username __typename } }"}', headers=headers)
    assert (answer.status, answer.json) == (200, {"data": {"me": {"username": "ana", "__typename": "User"}}})


def short_token(people: People) -> str:
    return sign(people.key, claims_of(people.ana.id, exp=claims_of("")["iat"] + 600))  # type: ignore[operator]


async def test_a_person_has_so_many_sockets_whichever_servers_they_are_at(
    job: MainJob, people_of_one_cell: People
) -> None:
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {short_token(people_of_one_cell)}"}}

    async def just_so_many() -> bool:  # in the end: where Redis is late, each server counts by itself
        answers = []
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4 * SOCKETS):
                socket = await stack.enter_async_context(open_raw("127.0.0.1", job.port))
                await socket.write(frame(TEXT, json.dumps(init).encode()))
                answers.append((await socket.read_frame())[1][:2])
        return collections.Counter(answers) == {b'{"': SOCKETS, (4429).to_bytes(2, "big"): 3 * SOCKETS}

    await eventually(just_so_many, within=300)


async def test_a_token_that_lives_for_an_hour_is_refused(job: MainJob, people_of_one_cell: People) -> None:
    headers = {"Content-Type": "application/json", **people_of_one_cell.ana.headers}
    expect_refusal(await send(job, b'{"query":"{ me { username } }"}', headers=headers), 401, "UNAUTHENTICATED")


async def test_nothing_is_written_to_the_data_folder(job: MainJob) -> None:
    assert not job.data_dir.exists()


async def test_the_secret_is_not_in_the_log(job: MainJob, people_of_one_cell: People) -> None:
    secret = (people_of_one_cell.job.data_dir / "secret.key").read_text().strip()
    said = job.output.read_text()
    assert secret not in said
    assert base64.b64decode(secret).hex() not in said


async def test_servers_are_replaced_one_after_the_other_and_no_request_fails(job: MainJob) -> None:
    async with asking(job, QUERY) as steady:
        for _ in range(TIMES):
            await steady.more(SOME)
            await renew(job)
        await steady.more(SOME)
    assert steady.failures == []
    sys.stdout.write(
        f"\n{TIMES * WORKERS} servers replaced under load: {steady.answered} requests answered, "
        f"none failed, the slowest took {steady.slowest:.2f} s\n"
    )


async def renew(job: MainJob) -> None:
    """Have all servers replaced, and wait until that is done."""
    before = job.output.read_text().count(READY)
    job.process.send_signal(signal.SIGHUP)
    await until(lambda: job.output.read_text().count(READY) == before + WORKERS, RENEWED_WITHIN_S)
