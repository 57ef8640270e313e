"""Codes and tokens of the auth service: what is in order is given, everything else refused, and what is stolen ends."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet
from joserfc.jws import extract_compact

from auth.discovery import Publication, open_session
from auth.issuers import Issuer
from auth.jwks import FixedKeys, read_keys
from auth.verifier import Verifier
from domain.errors import TokenRejected
from identity.codes import LIFE
from identity.families import GRACE, IDLE, LONGEST, new_family
from identity.minting import Mint
from identity.parts import Parts
from identity.sessions import end_sessions
from identity.signing_keys import KNOWN_AFTER
from identity.sweeping import CODES_KEPT, KEPT, sweep
from tests.acceptance.people import claims_of, sign
from tests.acceptance.test_protocol_tokens import FORGERIES
from tests.oidc import REDIRECT_URI, SCOPE, Answer, Application, Browser, open_application

A_LITTLE = dt.timedelta(seconds=1)
JUST_AFTER = dt.timedelta(milliseconds=1)


@pytest.fixture
async def application(identity_parts: Parts) -> AsyncIterator[Application]:
    async with open_application(identity_parts) as opened:
        yield opened


async def verifier_of(application: Application) -> Verifier:
    """Make a verifier as the user service has it, from what the service says of itself."""
    async with open_session() as session:
        keys = await Publication(session, application.parts.url).fetch()
    return Verifier(
        [Issuer(application.parts.url, FixedKeys(keys))],
        audience=application.parts.settings.auth_audience,
        clock=lambda: application.clock().timestamp(),
    )


async def endings_of(application: Application, browser: Browser) -> int:
    """Count the families that ended before their time, of each of which the user service is told."""
    async with application.parts.database.connection() as connection:
        statement = "SELECT count(*) FROM families WHERE account_id = $1 AND ended_at IS NOT NULL"
        count: int = await connection.fetchval(statement, browser.account_id)
        return count


def refused(answer: Answer, error: str, status: int = 400) -> bool:
    return (answer.status, answer.body) == (status, {"error": error})


async def test_whoever_is_signed_in_gets_tokens_that_the_user_service_accepts(application: Application) -> None:
    ana = await application.sign_up()
    where, sent = (await application.authorize(ana)).redirect
    assert where == REDIRECT_URI
    assert (sent["state"], sent["iss"]) == ("a state", application.parts.url)
    answer = await application.exchange(sent["code"])
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert (answer.body["token_type"], answer.body["scope"]) == ("Bearer", SCOPE)
    verifier = await verifier_of(application)
    claims = verifier.verify(answer.body["access_token"])
    assert claims.subject == ana.subject
    assert claims.scopes == frozenset(SCOPE.split())
    assert claims.authenticated_at == int(application.clock().timestamp())
    assert claims.expires_at - claims.issued_at == answer.body["expires_in"] == 600
    assert claims.session is not None
    with pytest.raises(TokenRejected):
        verifier.verify(answer.body["id_token"])


async def test_an_id_token_says_who_signed_in_and_when_and_answers_the_nonce(application: Application) -> None:
    ana = await application.sign_up()
    tokens = await application.sign_in(ana)
    async with application.parts.database.connection() as connection:
        keys = KeySet.import_key_set({"keys": await application.parts.signing_keys.published(connection)})
    token = jwt.decode(tokens["id_token"], keys, algorithms=["ES256"])
    assert token.header["typ"] == "JWT"
    said = {name: token.claims[name] for name in ("iss", "sub", "aud", "nonce", "auth_time")}
    assert said == {
        "iss": application.parts.url,
        "sub": ana.subject,
        "aud": "graphiql",
        "nonce": "a nonce",
        "auth_time": int(application.clock().timestamp()),
    }
    without = await application.sign_in(ana, scope="kith:read")
    assert "id_token" not in without


async def test_a_code_is_good_for_its_verifier_application_and_address_alone(application: Application) -> None:
    ana = await application.sign_up()
    code = await application.code(ana)
    for wrong in (
        {"code_verifier": "x" * 43},
        {"redirect_uri": REDIRECT_URI + "/"},
        {"redirect_uri": "http://localhost:8000/graphql"},
    ):
        assert refused(await application.exchange(code, **wrong), "invalid_grant")
    for missing in ("code_verifier", "redirect_uri"):
        assert (await application.exchange(code, **{missing: None})).status == 400
    assert refused(await application.exchange(code, code_verifier="short"), "invalid_request")
    assert refused(await application.exchange(code, client_id="nobody"), "invalid_client", 401)
    assert refused(await application.exchange(code, client_id=None), "invalid_client", 401)
    assert (await application.exchange(code)).status == 200


async def test_a_code_that_comes_again_ends_what_came_of_the_first(application: Application) -> None:
    ana = await application.sign_up()
    code = await application.code(ana)
    tokens = (await application.exchange(code)).body
    assert refused(await application.exchange(code), "invalid_grant")
    assert refused(await application.refresh(tokens["refresh_token"]), "invalid_grant")
    assert await endings_of(application, ana) == 1


async def test_a_code_that_many_present_at_once_is_good_once(application: Application) -> None:
    ana = await application.sign_up()
    code = await application.code(ana)
    answers = await asyncio.gather(*(application.exchange(code) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 7


async def test_a_code_ends_by_itself_and_with_the_session(application: Application) -> None:
    ana = await application.sign_up()
    late, orphaned = await application.code(ana), await application.code(ana)
    application.clock.forward(LIFE + JUST_AFTER)
    assert refused(await application.exchange(late), "invalid_grant")
    orphaned = await application.code(ana)
    async with application.parts.database.transaction() as connection:
        await end_sessions(connection, ana.account_id, now=application.clock())
    assert refused(await application.exchange(orphaned), "invalid_grant")


async def test_refresh_tokens_follow_one_another_and_one_that_comes_again_ends_them_all(
    application: Application,
) -> None:
    ana = await application.sign_up()
    first = (await application.sign_in(ana))["refresh_token"]
    second = (await application.refresh(first)).body["refresh_token"]
    assert second != first
    application.clock.forward(GRACE)
    assert (await application.refresh(first)).body["refresh_token"] == second
    third = (await application.refresh(second)).body["refresh_token"]
    application.clock.forward(JUST_AFTER)
    assert refused(await application.refresh(first), "invalid_grant")
    assert refused(await application.refresh(third), "invalid_grant")
    assert await endings_of(application, ana) == 1
    async with application.parts.database.connection() as connection:
        statement = "SELECT kind FROM identity_events WHERE account_id = $1 ORDER BY id"
        kinds = [row["kind"] for row in await connection.fetch(statement, ana.account_id)]
    assert kinds == ["session.began", "family.began", "family.token_reused"]


async def test_a_hundred_tabs_that_renew_at_once_stay_one_lineage(application: Application) -> None:
    ana = await application.sign_up()
    first = (await application.sign_in(ana))["refresh_token"]
    answers = await asyncio.gather(*(application.refresh(first) for _ in range(100)))
    given = [answer for answer in answers if answer.status == 200]
    assert {answer.body["refresh_token"] for answer in given} == {given[0].body["refresh_token"]}
    assert {answer.status for answer in answers} <= {200, 503}
    async with application.parts.database.connection() as connection:
        statement = """
            SELECT t.generation FROM refresh_tokens t JOIN families f ON f.id = t.family_id
            WHERE f.account_id = $1 ORDER BY t.generation
        """
        lineage = [row["generation"] for row in await connection.fetch(statement, ana.account_id)]
    assert lineage == [1, 2]
    assert (await application.refresh(given[0].body["refresh_token"])).status == 200


async def test_a_refresh_token_is_good_for_a_while_and_for_its_application(application: Application) -> None:
    ana = await application.sign_up()
    token = (await application.sign_in(ana))["refresh_token"]
    assert refused(await application.refresh(token, client_id="nobody"), "invalid_client", 401)
    assert refused(await application.refresh(token, scope=f"{SCOPE} kith:account"), "invalid_scope")
    assert refused(await application.refresh("unknown"), "invalid_grant")
    assert refused(await application.token(grant_type="refresh_token"), "invalid_request")
    narrowed = (await application.refresh(token, scope="kith:read")).body
    assert narrowed["scope"] == "kith:read"
    application.clock.forward(IDLE + JUST_AFTER)
    assert refused(await application.refresh(narrowed["refresh_token"]), "invalid_grant")


async def test_no_family_lives_for_ever(application: Application) -> None:
    token = (await application.sign_in(await application.sign_up()))["refresh_token"]
    for _ in range(LONGEST // IDLE):
        application.clock.forward(IDLE)
        answer = await application.refresh(token)
        token = answer.body["refresh_token"]
    application.clock.forward(JUST_AFTER)
    assert refused(await application.refresh(token), "invalid_grant")


async def test_whoever_signs_out_elsewhere_ends_those_tokens_and_no_others(application: Application) -> None:
    ana, bo = await application.sign_up(), await application.sign_up()
    tokens, others = await application.sign_in(ana), await application.sign_in(bo)
    async with application.parts.database.transaction() as connection:
        assert await end_sessions(connection, ana.account_id, now=application.clock()) == 1
    assert refused(await application.refresh(tokens["refresh_token"]), "invalid_grant")
    assert (await application.authorize(ana)).redirect[0] == "/sign-in"
    assert (await application.refresh(others["refresh_token"])).status == 200
    assert (await endings_of(application, ana), await endings_of(application, bo)) == (1, 0)


async def test_an_application_ends_its_tokens_and_hears_nothing_of_others(application: Application) -> None:
    ana = await application.sign_up()
    token = (await application.sign_in(ana))["refresh_token"]
    for unknown in ("unknown", "x" * 5000):
        answer = await application.post("/revoke", {"client_id": "graphiql", "token": unknown})
        assert answer.status in (200, 400)
    assert refused(await application.post("/revoke", {"client_id": "nobody", "token": token}), "invalid_client", 401)
    answer = await application.post("/revoke", {"client_id": "graphiql", "token": token})
    assert (answer.status, answer.body) == (200, {})
    assert refused(await application.refresh(token), "invalid_grant")
    assert await endings_of(application, ana) == 1


async def test_a_blocked_account_gets_neither_codes_nor_tokens(application: Application) -> None:
    ana = await application.sign_up()
    code, token = await application.code(ana), (await application.sign_in(ana))["refresh_token"]
    async with application.parts.database.connection() as connection:
        await connection.execute("UPDATE accounts SET state = 'BLOCKED' WHERE id = $1", ana.account_id)
    assert refused(await application.exchange(code), "invalid_grant")
    assert refused(await application.refresh(token), "invalid_grant")
    assert (await application.authorize(ana)).redirect[0] == "/sign-in"


ELSEWHERE = [
    "https://evil.example/graphql",
    f"{REDIRECT_URI}/",
    f"{REDIRECT_URI}?x=1",
    f"{REDIRECT_URI}#x",
    f"{REDIRECT_URI}/../x",
    REDIRECT_URI.upper(),
    REDIRECT_URI.replace("http://", "https://"),
    REDIRECT_URI.replace("http://", "http://evil.example@"),
    REDIRECT_URI.replace("127.0.0.1", "127.0.0.1.evil.example"),
    REDIRECT_URI.replace("127.0.0.1", "2130706433"),
    REDIRECT_URI.replace(":8000", ":8001"),
    f"{REDIRECT_URI} ",
    f"{REDIRECT_URI}%0d%0aX: y",
    REDIRECT_URI.replace("/graphql", "\\graphql"),
    "javascript:alert(1)",
    "//127.0.0.1:8000/graphql",
    "",
]


@pytest.mark.parametrize("uri", ELSEWHERE)
async def test_nobody_is_sent_where_an_application_is_not_registered(application: Application, uri: str) -> None:
    answer = await application.authorize(await application.sign_up(), redirect_uri=uri)
    assert answer.status == 400
    assert "Location" not in answer.headers
    assert uri not in answer.text or not uri


async def test_what_says_something_twice_is_sent_nowhere(application: Application) -> None:
    ana = await application.sign_up()
    for name in ("redirect_uri", "state", "client_id", "code_challenge"):
        query = f"{urlencode(application.request)}&{name}={quote(application.request[name])}"
        answer = await application.authorize(ana, query=query)
        assert (answer.status, "Location" in answer.headers) == (400, False)
    assert (await application.authorize(ana, client_id="nobody")).status == 400


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"scope": "kith:everything"}, "invalid_scope"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "surprise"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "٣"}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"request": "a.b.c"}, "request_not_supported"),
        ({"request_uri": "https://evil.example"}, "request_uri_not_supported"),
    ],
)
async def test_a_request_that_is_not_in_order_is_told_to_the_application(
    application: Application, fields: dict[str, Any], error: str
) -> None:
    where, sent = (await application.authorize(await application.sign_up(), **fields)).redirect
    assert where == REDIRECT_URI
    assert sent == {"error": error, "state": "a state", "iss": application.parts.url}


async def test_whoever_is_not_signed_in_signs_in_and_comes_back(application: Application) -> None:
    where, sent = (await application.authorize(prompt="login", max_age="0")).redirect
    assert where == "/sign-in"
    assert set(sent) == {"continue"}
    ana = await application.sign_up()
    back, _ = (await application.get(sent["continue"], ana)).redirect
    assert back == REDIRECT_URI
    _, told = (await application.authorize(prompt="none")).redirect
    assert told["error"] == "login_required"


@pytest.mark.parametrize("fields", [{"prompt": "login"}, {"prompt": "select_account"}, {"max_age": "0"}])
async def test_an_application_may_ask_for_a_new_sign_in(application: Application, fields: dict[str, str]) -> None:
    ana = await application.sign_up()
    application.clock.forward(A_LITTLE)
    where, sent = (await application.authorize(ana, **fields)).redirect
    assert (where, sent["again"]) == ("/sign-in", "1")
    assert (await application.get(sent["continue"], ana)).redirect[0] == "/sign-in"
    application.clock.forward(A_LITTLE)
    again = await application.sign_up()
    assert (await application.get(sent["continue"], again)).redirect[0] == REDIRECT_URI


async def test_a_sign_in_may_be_as_old_as_an_application_allows(application: Application) -> None:
    ana = await application.sign_up()
    application.clock.forward(dt.timedelta(seconds=60))
    assert (await application.authorize(ana, max_age="60")).redirect[0] == REDIRECT_URI
    application.clock.forward(JUST_AFTER)
    assert (await application.authorize(ana, max_age="60")).redirect[0] == "/sign-in"
    _, sent = (await application.authorize(ana, max_age="60", prompt="none")).redirect
    assert sent["error"] == "login_required"


async def test_only_pages_of_registered_applications_read_what_the_token_endpoint_answers(
    application: Application,
) -> None:
    for origin, allowed in (("http://127.0.0.1:8000", True), ("https://evil.example", False), ("null", False)):
        answer = await application.post("/token", {"grant_type": "refresh_token"}, Origin=origin)
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)


async def test_what_cannot_be_read_as_a_form_is_refused(application: Application) -> None:
    form = "application/x-www-form-urlencoded"
    bodies = ("a=%ff", "a=1&a=2", "a=%00", "a=" + "x" * 70_000)
    for body, kind in (("{}", "application/json"), *((body, form) for body in bodies)):
        headers = {"Content-Type": kind}
        async with application.http.post(application.parts.url + "/token", data=body, headers=headers) as response:
            assert response.status in (400, 413)
            assert set(await response.json()) == {"error"}
    assert refused(await application.token(grant_type="password"), "unsupported_grant_type")
    assert refused(await application.token(), "invalid_request")


async def test_tokens_of_before_a_rotation_are_accepted_and_none_is_refused_meanwhile(
    application: Application,
) -> None:
    tokens = await application.sign_in(await application.sign_up())
    verifier = await verifier_of(application)  # its keys are those of before
    given = [tokens["access_token"]]

    async def renew() -> None:
        token = tokens["refresh_token"]
        for _ in range(10):
            answer = await application.refresh(token)
            assert answer.status == 200
            token = answer.body["refresh_token"]
            given.append(answer.body["access_token"])

    async def rotate() -> None:
        async with application.parts.database.transaction() as connection:
            await application.parts.signing_keys.rotate(connection, application.clock(), at_once=False)

    async with application.parts.database.connection() as connection:
        await connection.execute("UPDATE signing_keys SET created_at = $1", application.clock() - KNOWN_AFTER)
    renewing = asyncio.create_task(renew())
    await rotate()
    await renewing
    given.append((await application.sign_in(await application.sign_up()))["access_token"])
    for token in given:
        assert verifier.verify(token).session is not None
    assert extract_compact(given[0].encode()).headers()["kid"] != extract_compact(given[-1].encode()).headers()["kid"]


async def test_no_secret_is_stored_as_it_is(application: Application) -> None:
    ana = await application.sign_up()
    code = await application.code(ana)
    tokens = (await application.exchange(code)).body
    renewed = (await application.refresh(tokens["refresh_token"])).body
    secrets = [ana.secret, code, tokens["refresh_token"], renewed["refresh_token"], renewed["access_token"]]
    async with application.parts.database.connection() as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for table in tables:
            rows = await connection.fetch(f'SELECT t::text FROM "{table["tablename"]}" t')  # noqa: S608
            text = " ".join(row[0] for row in rows)
            assert [secret for secret in secrets if secret in text or secret.encode().hex()[:48] in text] == []


async def test_every_family_that_ends_is_noted_for_the_user_service(application: Application) -> None:
    ana = await application.sign_up()
    await application.sign_in(ana)
    async with application.parts.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await end_sessions(connection, ana.account_id, now=application.clock())
        rows = await connection.fetch("SELECT session, ended_at FROM endings WHERE subject = $1", ana.subject)
        ids = await connection.fetch("SELECT id FROM families WHERE account_id = $1", ana.account_id)
        await transaction.rollback()
    assert [(row["session"], row["ended_at"]) for row in rows] == [(str(row["id"]), application.clock()) for row in ids]


async def test_forged_tokens_are_refused_whoever_issues(application: Application) -> None:
    issuer = "https://auth.kith.localhost"  # the one whose claims the forgeries make
    async with application.parts.database.connection() as connection:
        key = await application.parts.signing_keys.current(connection)
        published = await application.parts.signing_keys.published(connection)
    # The forgeries are valid for an hour, so that each is refused for the one thing that is wrong with it.
    keys = FixedKeys(read_keys({"keys": published}))
    verifier = Verifier([Issuer(issuer, keys, longest_life=7200)], audience="kith")
    now = dt.datetime.now(dt.UTC)
    family = new_family(uuid.uuid4(), "ana", "graphiql", SCOPE, now)
    token = Mint(issuer, "kith").access_token(key, family, SCOPE, now)
    people: Any = SimpleNamespace(key=key, ana=SimpleNamespace(id="ana", token=token), eve=SimpleNamespace(id="eve"))
    assert verifier.verify(token).subject == verifier.verify(sign(key, claims_of("ana"))).subject == "ana"
    found_by_the_user_service = {"sub of no person"}
    accepted = set()
    for name, forge in FORGERIES.items():
        with contextlib.suppress(TokenRejected):
            verifier.verify(forge(people))
            accepted.add(name)
    assert accepted == found_by_the_user_service


async def test_neither_issuer_signs_in_the_others_name(application: Application) -> None:
    tokens = await application.sign_in(await application.sign_up())
    own = (await verifier_of(application))._issuers[application.parts.url]
    other = ECKey.generate_key("P-256", private=True, auto_kid=True)
    beside = Issuer("https://beside.example", FixedKeys(read_keys({"keys": [other.as_dict(private=False)]})))
    verifier = Verifier([own, beside], audience="kith", clock=lambda: application.clock().timestamp())
    assert verifier.verify(tokens["access_token"]).session is not None
    claims = extract_compact(tokens["access_token"].encode()).payload
    header = {"alg": "ES256", "typ": "at+jwt", "kid": other.kid}
    with pytest.raises(TokenRejected):
        verifier.verify(jws.serialize_compact(header, claims, other))


async def test_what_has_ended_is_removed_in_time_and_nothing_else(application: Application) -> None:
    ana, bo = await application.sign_up(), await application.sign_up()
    ended, lives = await application.sign_in(ana), await application.sign_in(bo)
    async with application.parts.database.transaction() as connection:
        await end_sessions(connection, ana.account_id, now=application.clock())

    async def left(browser: Browser) -> list[int]:
        await sweep(application.parts.database, application.clock())
        tables = ("authorization_codes", "families", "sessions")
        async with application.parts.database.connection() as connection:
            statements = (f"SELECT count(*) FROM {table} WHERE account_id = $1" for table in tables)  # noqa: S608
            return [await connection.fetchval(statement, browser.account_id) for statement in statements]

    assert (await left(ana), await left(bo)) == ([1, 1, 1], [1, 1, 1])
    application.clock.forward(CODES_KEPT + JUST_AFTER)
    assert (await left(ana), await left(bo)) == ([0, 1, 1], [0, 1, 1])
    renewed = (await application.refresh(lives["refresh_token"])).body
    application.clock.forward(KEPT - CODES_KEPT + JUST_AFTER)
    assert (await left(ana), await left(bo)) == ([0, 0, 0], [0, 1, 1])
    assert refused(await application.refresh(ended["refresh_token"]), "invalid_grant")
    assert (await application.refresh(renewed["refresh_token"])).status == 200


async def test_a_session_that_is_not_known_is_nobodys(application: Application) -> None:
    ana = await application.sign_up()
    for secret in ("", "x", ana.secret[:-1], ana.secret + "x", str(ana.session_id), "x" * 5000):
        forged = dataclasses.replace(ana, secret=secret)
        assert (await application.authorize(forged)).redirect[0] == "/sign-in"
