"""GraphQL over HTTP as attackers and careless clients send it: refused in one form, and the next one is answered."""

import asyncio
import collections
import gzip
import itertools
import json
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlencode

import pytest

from tests.acceptance.main_job import HOST, MainJob
from tests.acceptance.people import People
from tests.acceptance.probes import GRAPHQL, JSON, expect_refusal, expect_service, send, send_json, send_raw
from tests.raw_sockets import connected

SIMPLE: Final = b'{"query":"{ __typename }"}'
ANSWER: Final = {"data": {"__typename": "Query"}}
FOLLOW: Final = 'mutation Act { followUser(input: {userId: "x"}) { userErrors { code } } }'
PAGE: Final = """{ user(username: "star") { followers(first: 100) { nodes {
  id username displayName bio followersCount viewerIsFollowing } } } }"""
CLIENTS: Final = 64
ASKED: Final = 40


@pytest.fixture
async def job(people_of_one_cell: People) -> AsyncIterator[MainJob]:
    """Give the run, which must answer after whatever a test has sent."""
    yield people_of_one_cell.job
    await expect_service(people_of_one_cell.job)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"1",
        b'"s"',
        b"[1]",
        b"[" + b",".join([SIMPLE] * 1000) + b"]",
        b"{",
        b'{"query":"\xff"}',
        b'\xef\xbb\xbf{"query":"{__typename}"}',
        '{"query":"{__typename}"}'.encode("utf-16"),
        b'{"query":"{__typename}","variables":' + b"[" * 100_000 + b"}",
        b'{"query":"{__typename}","variables":{"a":' + b'{"a":' * 20_000 + b"}",
        b'{"query":"{__typename}","variables":{"a":NaN}}',
        b'{"query":"{__typename}","variables":{"a":Infinity}}',
        b'{"query":"{__typename}","variables":{"a":-Infinity}}',
        b'{"query":"{__typename}","query":"{__typename}"}',
        b'{"query":"{__typename}","variables":{"a":1,"a":2}}',
        b'{"query":"{__typename}","variables":{"a":' + b"9" * 10_000 + b"}}",
        b"{}",
        b'{"query":null}',
        b'{"query":0}',
        b'{"query":false}',
        b'{"query":[]}',
        b'{"query":{}}',
        b'{"query":""}',
        b'{"query":" \\n\\t"}',
        b'{"query":"{__typename}","operationName":1}',
        b'{"query":"{__typename}","operationName":[]}',
        b'{"query":"{__typename}","operationName":{}}',
        b'{"query":"{__typename}","variables":[]}',
        b'{"query":"{__typename}","variables":"{}"}',
        b'{"query":"{__typename}","extensions":[]}',
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_a_body_that_is_no_request_is_refused(job: MainJob, body: bytes) -> None:
    expect_refusal(await send(job, body), 400, "BAD_REQUEST")


@pytest.mark.parametrize("size", [200_000, 5_000_000])
async def test_a_body_that_is_too_large_is_refused(job: MainJob, size: int) -> None:
    expect_refusal(await send(job, b" " * size + SIMPLE), 413, "BAD_REQUEST")


async def test_a_body_that_grows_when_it_is_unpacked_is_refused(job: MainJob) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    expect_refusal(await send(job, bomb, headers={"Content-Type": JSON, "Content-Encoding": "gzip"}), 413)


async def test_a_body_that_cannot_be_unpacked_is_refused(job: MainJob) -> None:
    expect_refusal(await send(job, b"no gzip", headers={"Content-Type": JSON, "Content-Encoding": "gzip"}), 400)


async def test_a_packed_body_that_is_cut_is_refused(job: MainJob) -> None:
    cut = gzip.compress(SIMPLE)[:-10]
    expect_refusal(await send(job, cut, headers={"Content-Type": JSON, "Content-Encoding": "gzip"}), 400)


async def test_a_body_that_can_be_unpacked_is_executed(job: MainJob) -> None:
    answer = await send(job, gzip.compress(SIMPLE), headers={"Content-Type": JSON, "Content-Encoding": "gzip"})
    assert (answer.status, answer.json) == (200, ANSWER)


@pytest.mark.parametrize(
    "body",
    [
        b'{"query":"query($i:FollowUserInput!){__typename}","variables":{"i":{"userId":"x","clientMutationId":"\\ud800"}}}',
        b'{"query":"query($o:FollowOrder!){me{followers(first:1,orderBy:$o){totalCount}}}","variables":{"o":"\\ud800"}}',
        b'{"query":"{__typename}","operationName":"\\uDFFF"}',
    ],
    ids=["echoed", "quoted", "a name"],
)
async def test_half_a_character_is_refused(job: MainJob, body: bytes) -> None:
    expect_refusal(await send(job, body), 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/graphql",
        "xapplication/json",
        "text/application/jsonx",
        "application/json-patch+json",
        "application/json; charset=utf-16",
        "application/json, text/plain",
        "application/json; charset",
        "",
    ],
)
async def test_another_media_type_is_never_executed(job: MainJob, media_type: str) -> None:
    expect_refusal(await send(job, SIMPLE, headers={"Content-Type": media_type}), 415, "BAD_REQUEST")


async def test_a_form_is_never_executed(job: MainJob) -> None:
    body = urlencode({"query": FOLLOW}).encode()
    expect_refusal(await send(job, body, headers={"Content-Type": "application/x-www-form-urlencoded"}), 415)


async def test_a_body_without_media_type_is_refused(job: MainJob) -> None:
    expect_refusal(await send(job, SIMPLE, headers={}), 415)


@pytest.mark.parametrize(
    "media_type", ["Application/JSON", "application/json;charset=UTF-8", 'application/json; charset="utf-8"']
)
async def test_json_in_any_spelling_is_executed(job: MainJob, media_type: str) -> None:
    answer = await send(job, SIMPLE, headers={"Content-Type": media_type})
    assert (answer.status, answer.json) == (200, ANSWER)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}, {JSON}", GRAPHQL),
        (f"{JSON}, {GRAPHQL}", JSON),
        (f"{JSON};q=0.5, {GRAPHQL}", GRAPHQL),
        (f"{GRAPHQL};q=0.5, {JSON}", JSON),
        (f"{GRAPHQL};q=0, */*", JSON),
        (f"{JSON};q=0, */*;q=0.1", GRAPHQL),
        (f"{GRAPHQL}; charset=utf-8, {JSON}; charset=utf-8", GRAPHQL),
        ("text/html, application/json;q=0.9", JSON),
        ("APPLICATION/JSON", JSON),
    ],
)
async def test_the_answer_has_the_media_type_that_the_client_prefers(
    job: MainJob, accept: str | None, media_type: str
) -> None:
    headers = {"Content-Type": JSON} | ({"Accept": accept} if accept is not None else {})
    answer = await send(job, SIMPLE, headers=headers)
    assert (answer.status, answer.json) == (200, ANSWER)
    assert answer.headers["Content-Type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "accept", ["text/plain", "image/*", "application/json;q=0", "text/event-stream;q=0", "x", "application/json;q=x"]
)
async def test_a_client_that_takes_nothing_of_ours_is_told(job: MainJob, accept: str) -> None:
    answer = await send(job, SIMPLE, headers={"Content-Type": JSON, "Accept": accept})
    expect_refusal(answer, 406, "BAD_REQUEST")
    assert "Accept `application/graphql-response+json`" in answer.json["errors"][0]["message"]


async def test_a_get_answers_queries(job: MainJob) -> None:
    parameters = {
        "query": "query One($n: String) { user(username: $n) { username } } query Two { me { id } }",
        "operationName": "One",
        "variables": json.dumps({"n": "ana"}),
    }
    answer = await send(job, method="GET", parameters=parameters)
    assert (answer.status, answer.json) == (200, {"data": {"user": {"username": "ana"}}})


@pytest.mark.parametrize("query", [FOLLOW, "query Read { __typename } " + FOLLOW])
async def test_a_get_never_mutates(job: MainJob, query: str) -> None:
    answer = await send(job, method="GET", parameters={"query": query, "operationName": "Act"})
    expect_refusal(answer, 405)
    assert answer.headers["Allow"] == "POST"
    assert answer.json["errors"][0]["message"].startswith("Send mutations by POST")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"query": ""},
        {"query": "{__typename}", "variables": "[]"},
        {"query": "{__typename}", "variables": "{"},
        {"query": "{__typename}", "extensions": "1"},
        {"query": "{__typename", "variables": '{"a":NaN}'},
    ],
)
async def test_a_get_that_is_no_request_is_refused(job: MainJob, parameters: dict[str, str]) -> None:
    expect_refusal(await send(job, method="GET", parameters=parameters), 400, "BAD_REQUEST")


async def test_a_parameter_given_twice_is_refused(job: MainJob) -> None:
    request = (
        b"GET /graphql?query=%7B__typename%7D&query=%7B__typename%7D HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert (await send_raw(job, request))[0] == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "HEAD", "OPTIONS", "PROPFIND"])
async def test_other_methods_are_refused(job: MainJob, method: str) -> None:
    answer = await send(job, method=method)
    assert answer.status == 405
    assert {"GET", "POST"} == set(answer.headers["Allow"].split(", "))
    assert answer.headers["X-Request-Id"]
    assert method == "HEAD" or answer.json["errors"][0]["message"] == "Use GET, POST."


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
async def test_a_subscription_over_http_is_refused_clearly(job: MainJob, accept: str) -> None:
    answer = await send_json(job, accept, query="subscription { followReceived { id } }")
    expect_refusal(answer, 400, "BAD_REQUEST")
    assert "WebSocket" in answer.json["errors"][0]["message"]


async def test_other_sites_pages_read_nothing(job: MainJob) -> None:
    headers = {"Content-Type": JSON, "Origin": "https://evil.example"}
    answer = await send(job, SIMPLE, headers=headers)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    preflight = await send(job, method="OPTIONS", headers=headers | {"Access-Control-Request-Method": "POST"})
    assert preflight.status == 405


async def test_cookies_are_nobody(job: MainJob, people_of_one_cell: People) -> None:
    token = people_of_one_cell.ana.token
    headers = {"Content-Type": JSON, "Cookie": f"authorization=Bearer {token}; token={token}; access_token={token}"}
    answer = await send(job, b'{"query":"{ me { id } }"}', headers=headers)
    assert answer.json == {"data": {"me": None}}
    assert "Set-Cookie" not in answer.headers


async def test_headers_of_proxies_are_nobody(job: MainJob, people_of_one_cell: People) -> None:
    ana = people_of_one_cell.ana.id
    headers = {"Content-Type": JSON, "X-User-Id": ana, "X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"}
    answer = await send(job, b'{"query":"{ me { id } }"}', headers=headers)
    assert answer.json == {"data": {"me": None}}


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 26\r\nTransfer-Encoding: chunked",
        b"Content-Length: 26\r\nContent-Length: 27",
        b"Content-Length: +26",
        b"Content-Length: -1",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Content-Length : 26",
        b"Content-Type: text/plain\r\nContent-Length: 26",
        b"X: \x00",
        b" X: y",
        b"X" * 100_000 + b": y",
    ],
    ids=lambda headers: repr(headers[:40]),
)
async def test_headers_that_two_servers_could_read_differently_are_refused(job: MainJob, headers: bytes) -> None:
    request = (
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers + b"\r\n\r\n" + SIMPLE
    )
    status, answer = await send_raw(job, request)
    assert 400 <= status < 500
    assert answer.count(b"HTTP/1.") == 1


@pytest.mark.parametrize("hosts", [b"", b"Host: x\r\nHost: y\r\n"], ids=["none", "two"])
async def test_a_request_names_one_host(job: MainJob, hosts: bytes) -> None:
    request = b"GET /graphql?query=%7B__typename%7D HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n"
    assert (await send_raw(job, request))[0] == 400


@pytest.mark.parametrize("path", ["/", "/graphql/", "/graphql/assets/../../secret.key", "/.kith/tokens.json", "/v9"])
async def test_other_paths_are_not_found(job: MainJob, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    status, answer = await send_raw(job, request.encode())
    assert status == 404
    assert b"X-Request-Id: " in answer


async def test_the_page_is_shown_to_browsers_only(job: MainJob) -> None:
    browser = await send(job, method="GET", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status, browser.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert browser.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in browser.headers["Content-Security-Policy"]
    expect_refusal(await send(job, method="GET", headers={"Accept": "*/*"}), 400)


async def test_a_consistency_token_is_taken_from_the_header_or_the_extension_and_only_from_one(job: MainJob) -> None:
    body = SIMPLE[:-1] + b',"extensions":{"consistencyToken":"x"}}'
    headers = {"Content-Type": JSON, "X-Consistency-Token": "x"}
    for forged in (await send(job, SIMPLE, headers=headers), await send(job, body)):
        expect_refusal(forged, 200, "BAD_USER_INPUT")
    expect_refusal(await send(job, body, headers=headers), 200, "BAD_REQUEST")


async def test_a_client_that_waits_for_its_answers_on_many_connections_is_not_refused(job: MainJob) -> None:
    """The process is then as busy as it can be, and each request waits for its turn."""
    body = json.dumps({"query": PAGE}).encode()
    head = f"POST /graphql HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n"
    request = f"{head}Authorization: Bearer {job.tokens['ana']}\r\n\r\n".encode() + body

    async def client() -> list[bytes]:
        async with connected(job.port) as (reader, writer):
            statuses = []
            for _ in range(ASKED):
                writer.write(request)
                told = await reader.readuntil(b"\r\n\r\n")
                statuses.append(told.split(b" ", 2)[1])
                await reader.readexactly(int(told.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]))
            return statuses

    statuses = await asyncio.gather(*(client() for _ in range(CLIENTS)))
    assert collections.Counter(itertools.chain.from_iterable(statuses)) == {b"200": CLIENTS * ASKED}
