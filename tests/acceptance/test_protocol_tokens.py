"""Access tokens that are not exactly right: refused over HTTP and over WebSocket alike."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from tests.acceptance.main_job import HOST
from tests.acceptance.people import People, claims_of, sign
from tests.acceptance.probes import JSON, expect_refusal, expect_service, open_socket, send, send_raw

ME: Final = b'{"query":"{ me { username } }"}'
Forge = Callable[[People], str]


@pytest.fixture
async def people(people_of_one_cell: People) -> AsyncIterator[People]:
    """Give everybody of the run, which must answer after whatever a test has sent."""
    yield people_of_one_cell
    await expect_service(people_of_one_cell.job)


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def signed(**changes: object) -> Forge:
    """Forge by signing other claims with the true key; None leaves a claim out."""
    return lambda people: sign(people.key, claims_of(people.ana.id, **changes))


def headed(**changes: object) -> Forge:
    """Forge by signing under another header with the true key; None leaves a part out."""

    def forge(people: People) -> str:
        header = {"alg": "ES256", "typ": "at+jwt", "kid": people.key.kid, **changes}
        kept = {name: value for name, value in header.items() if value is not None}
        return jws.serialize_compact(kept, json.dumps(claims_of(people.ana.id)), people.key)

    return forge


def cut(forge: Callable[[list[str], People], list[str]]) -> Forge:
    """Forge by changing the three parts of ana's true token."""
    return lambda people: ".".join(forge(str(people.ana.token).split("."), people))


def without_algorithm(people: People) -> str:
    header = {"alg": "none", "typ": "at+jwt", "kid": people.key.kid}
    return f"{part(header)}.{part(claims_of(people.ana.id))}."


def with_the_public_key_as_secret(people: People) -> str:
    header = {"alg": "HS256", "typ": "at+jwt", "kid": people.key.kid}
    text = f"{part(header)}.{part(claims_of(people.ana.id))}"
    return f"{text}.{part(hmac.digest(people.key.as_pem(private=False), text.encode(), 'sha256'))}"


def with_a_key_of_its_own(people: People) -> str:
    own = ECKey.generate_key("P-256", private=True)
    header = {"alg": "ES256", "typ": "at+jwt", "kid": people.key.kid, "jwk": own.as_dict(private=False)}
    return jws.serialize_compact(header, json.dumps(claims_of(people.ana.id)), own)


def by_another_key(people: People) -> str:
    own = ECKey.generate_key("P-256", private=True)
    return sign(own, claims_of(people.ana.id), kid=people.key.kid)


def with_a_claim_twice(people: People) -> str:
    claims = json.dumps(claims_of(people.eve.id))
    twice = claims[:-1] + f', "sub": "{people.ana.id}"}}'
    header = {"alg": "ES256", "typ": "at+jwt", "kid": people.key.kid}
    return jws.serialize_compact(header, twice, people.key)


def with_claims(claims: str) -> Forge:
    """Forge by signing claims that are no object."""
    return lambda people: jws.serialize_compact(
        {"alg": "ES256", "typ": "at+jwt", "kid": people.key.kid}, claims, people.key
    )


def unencoded(people: People) -> str:
    header = {"alg": "ES256", "typ": "at+jwt", "kid": people.key.kid, "b64": False, "crit": ["b64"]}
    return f"{part(header)}.{json.dumps(claims_of(people.ana.id)).replace(' ', '')}.{people.ana.token[-86:]}"  # type: ignore[index]


PAST: Final = int(time.time()) - 3600
FORGERIES: Final[dict[str, Forge]] = {
    "alg none": without_algorithm,
    "HS256 with the public key": with_the_public_key_as_secret,
    "a key of its own in the header": with_a_key_of_its_own,
    "another key under our kid": by_another_key,
    "kid of a path": headed(kid="../../dev/null"),
    "kid unknown": headed(kid="unknown"),
    "no kid": headed(kid=None),
    "kid empty": headed(kid=""),
    "typ JWT": headed(typ="JWT"),
    "where to find the key": headed(jku="https://evil.example/keys"),
    "no typ": headed(typ=None),
    "signature of zeros": cut(lambda parts, _: [*parts[:2], part(bytes(64))]),
    "no signature": cut(lambda parts, _: [*parts[:2], ""]),
    "payload changed": cut(lambda parts, people: [parts[0], part(claims_of(people.eve.id)), parts[2]]),
    "header changed": cut(
        lambda parts, people: [part({"alg": "ES256", "typ": "at+jwt", "kid": people.key.kid, "x": 1}), *parts[1:]]
    ),
    "two parts": cut(lambda parts, _: parts[:2]),
    "four parts": cut(lambda parts, _: [*parts, "x"]),
    "only dots": cut(lambda _, __: ["", "", ""]),
    "not base64url": cut(lambda parts, _: [*parts[:2], parts[2][:-1] + "+"]),
    "deep header": cut(lambda parts, _: [part(b'{"kid":' + b"[" * 1000 + b"]" * 1000 + b"}"), *parts[1:]]),
    "padding": cut(lambda parts, _: [*parts[:2], parts[2] + "=="]),
    "exp missing": signed(exp=None),
    "exp null": with_claims('{"iss":"https://auth.kith.localhost","aud":"kith","sub":"x","iat":1,"exp":null}'),
    "exp a text": signed(exp=str(PAST + 7200)),
    "exp a truth value": signed(exp=True),
    "exp infinite": signed(exp=float("inf")),
    "exp in the past": signed(iat=PAST - 3600, nbf=PAST - 3600, exp=PAST),
    "exp beyond the calendar": signed(exp=10**18),
    "exp far too late": signed(exp=PAST + 8 * 24 * 3600),
    "exp before iat": signed(iat=PAST + 1800, exp=PAST + 1700),
    "iat missing": signed(iat=None),
    "iat to come": signed(iat=PAST + 7200, exp=PAST + 9000),
    "nbf missing": signed(nbf=None),
    "nbf to come": signed(nbf=PAST + 7200),
    "nbf a text": signed(nbf="0"),
    "jti missing": signed(jti=None),
    "jti a number": signed(jti=1),
    "sid a number": signed(sid=1),
    "aud wrong": signed(aud="another"),
    "aud missing": signed(aud=None),
    "aud in another case": signed(aud="KITH"),
    "aud among others": signed(aud=["kith", "another"]),
    "iss wrong": signed(iss="https://evil.example"),
    "iss a list": signed(iss=["https://auth.kith.localhost"]),
    "iss with a slash": signed(iss="https://auth.kith.localhost/"),
    "iss missing": signed(iss=None),
    "sub missing": signed(sub=None),
    "sub empty": signed(sub=""),
    "sub a number": signed(sub=1),
    "sub of no person": signed(sub="AAAAAAAAAAAAAAAAAAAAAA"),
    "claims of a list": with_claims("[]"),
    "claims of a text": with_claims('"x"'),
    "claims deep": with_claims("[" * 3000 + "]" * 3000),
    "very long": signed(padding="x" * 200_000),
    "rather long": signed(padding="x" * 6_000),
    "not ASCII": lambda people: f"{people.ana.token}\u00e9",
    "empty": lambda _: "",
    "a word": lambda _: "token",
    "a claim twice": with_a_claim_twice,
    "b64 false": unencoded,
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_token_is_refused_over_http(people: People, name: str) -> None:
    token = FORGERIES[name](people)
    headers = {"Content-Type": JSON, "Authorization": f"Bearer {token}"}
    if len(token) > 8000:
        # The server may refuse such a header before it reads a request: there is no other way but 4xx.
        status, _ = await send_raw(people.job, request_with(headers))
        assert status in (400, 401, 431)
        return
    answer = await send(people.job, ME, headers=headers)
    expect_refusal(answer, 401, "UNAUTHENTICATED")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_token_is_refused_over_a_socket(people: People, name: str) -> None:
    token = FORGERIES[name](people)
    async with open_socket(people.job) as socket:
        await socket.write({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
        code = await socket.closing()
    assert code == (1009 if len(token) > 128 * 1024 else 4403)
    assert socket.messages == []


@pytest.mark.parametrize(
    "changes", [{}, {"exp": 600.5}, {"aud": ["kith"]}, {"scope": "openid kith:read", "role": "admin"}]
)
async def test_a_token_that_is_right_is_accepted(people: People, changes: dict[str, object]) -> None:
    claims = {name: time.time() + value if isinstance(value, float) else value for name, value in changes.items()}
    token = sign(people.key, claims_of(people.ana.id, **claims))
    headers = {"Content-Type": JSON, "Authorization": f"Bearer {token}"}
    assert (await send(people.job, ME, headers=headers)).json == {"data": {"me": {"username": "ana"}}}


@pytest.mark.parametrize("scheme", ["bearer ", "BEARER ", "Bearer  "])
async def test_the_scheme_is_read_in_any_case(people: People, scheme: str) -> None:
    headers = {"Content-Type": JSON, "Authorization": f"{scheme}{people.ana.token}"}
    assert (await send(people.job, ME, headers=headers)).json == {"data": {"me": {"username": "ana"}}}
    async with open_socket(people.job) as socket:
        await socket.write({"type": "connection_init", "payload": {"authorization": f"{scheme}{people.ana.token}"}})
        assert await socket.read() == {"type": "connection_ack"}


@pytest.mark.parametrize(
    "credentials",
    [
        "Basic YW5hOmFuYQ==",
        "Bearer",
        "Bearer\t{}",
        "{}",
        "Token {}",
        "Bearer {} {}",
        "Bearer {},{}",
        "Bearer={}",
        'Bearer "{}"',
    ],
)
async def test_other_credentials_are_refused(people: People, credentials: str) -> None:
    text = credentials.replace("{}", str(people.ana.token))
    answer = await send(people.job, ME, headers={"Content-Type": JSON, "Authorization": text})
    expect_refusal(answer, 401, "UNAUTHENTICATED")


async def test_an_empty_header_is_refused(people: People) -> None:
    answer = await send(people.job, ME, headers={"Content-Type": JSON, "Authorization": ""})
    expect_refusal(answer, 401, "UNAUTHENTICATED")


async def test_two_headers_are_refused(people: People) -> None:
    credentials = f"Bearer {people.ana.token}"
    for other in (credentials, "Bearer x", ""):
        headers = [("Content-Type", JSON), ("Authorization", credentials), ("Authorization", other)]
        answer = await send(people.job, ME, headers=headers)
        assert answer.status in (400, 401)


async def test_a_token_in_the_address_is_nobody(people: People) -> None:
    for name in ("access_token", "token", "authorization"):
        parameters = {"query": "{ me { username } }", name: str(people.ana.token)}
        answer = await send(people.job, method="GET", parameters=parameters)
        assert (answer.status, answer.json) == (200, {"data": {"me": None}})


async def test_all_refusals_of_tokens_are_the_same(people: People) -> None:
    bodies = set()
    for name in ("alg none", "exp in the past", "sub of no person", "aud wrong", "empty"):
        headers = {"Content-Type": JSON, "Authorization": f"Bearer {FORGERIES[name](people)}"}
        bodies.add((await send(people.job, ME, headers=headers)).body)
    assert len(bodies) == 1


async def test_a_socket_is_closed_when_its_token_ends(people: People) -> None:
    token = sign(people.key, claims_of(people.ana.id, exp=time.time() + 1.0))
    async with open_socket(people.job) as socket:
        await socket.write({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
        assert await socket.read() == {"type": "connection_ack"}
        assert await socket.closing() == 4403


def request_with(headers: dict[str, str]) -> bytes:
    lines = [f"{name}: {text}" for name, text in {**headers, "Host": HOST, "Connection": "close"}.items()]
    head = "\r\n".join(["POST /graphql HTTP/1.1", *lines, f"Content-Length: {len(ME)}"])
    return f"{head}\r\n\r\n".encode() + ME
