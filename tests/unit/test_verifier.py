"""The verifier accepts one kind of token and nothing else."""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, OctKey

from auth.verifier import Verifier
from domain.errors import TokenRejected

KEY = ECKey.generate_key("P-256", auto_kid=True)
OTHER = ECKey.generate_key("P-256", auto_kid=True)
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid}
NOW = int(time.time())
CLAIMS = {"iss": "https://i", "aud": "kith", "sub": "ana", "iat": NOW, "exp": NOW + 60}


def verifier(now: float = NOW) -> Verifier:
    keys = KeySet([ECKey.import_key(KEY.as_dict(private=False))])
    return Verifier(keys, issuer="https://i", audience="kith", clock=lambda: now)


def token(claims: Mapping[str, Any] = {}, header: Mapping[str, Any] = {}, key: ECKey = KEY) -> str:
    merged = {name: value for name, value in {**HEADER, **header}.items() if value is not None}
    body = {name: value for name, value in {**CLAIMS, **claims}.items() if value != "absent"}
    return jwt.encode(merged, body, key)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_good_token_speaks_for_its_subject_until_it_ends() -> None:
    good = token()
    assert verifier().verify(good).subject == "ana"
    remembered = verifier()
    remembered.verify(good)
    assert remembered.verify(good).expires_at == NOW + 60


def test_a_remembered_token_ends_all_the_same() -> None:
    now = [float(NOW)]
    keys = KeySet([ECKey.import_key(KEY.as_dict(private=False))])
    checks = Verifier(keys, issuer="https://i", audience="kith", clock=lambda: now[0])
    good = token()
    checks.verify(good)
    now[0] += 66
    with pytest.raises(TokenRejected):
        checks.verify(good)


@pytest.mark.parametrize("claims", [{"exp": NOW + 60.5}, {"nbf": NOW}, {"aud": ["kith"]}])
def test_what_the_standards_allow_is_accepted(claims: dict[str, Any]) -> None:
    assert verifier().verify(token(claims)).subject == "ana"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": "absent"},
        {"exp": None},
        {"exp": str(NOW + 60)},
        {"exp": True},
        {"exp": NOW - 60},
        {"exp": 1e300},
        {"exp": -1},
        {"iat": "absent"},
        {"iat": NOW + 3600},
        {"nbf": NOW + 3600},
        {"nbf": "now"},
        {"aud": "absent"},
        {"aud": "other"},
        {"aud": ["kith", "other"]},
        {"aud": []},
        {"iss": "absent"},
        {"iss": "https://i/"},
        {"iss": ["https://i"]},
        {"sub": "absent"},
        {"sub": ""},
        {"sub": 1},
        {"sub": ["ana"]},
    ],
    ids=str,
)
def test_wrong_claims_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(TokenRejected):
        verifier().verify(token(claims))


@pytest.mark.parametrize("header", [{"kid": None}, {"kid": "../../dev/null"}, {"typ": None}, {"typ": "JWT"}], ids=str)
def test_wrong_headers_are_refused(header: dict[str, Any]) -> None:
    with pytest.raises(TokenRejected):
        verifier().verify(token(header=header))


def forged() -> dict[str, str]:
    good = token()
    head, body, signature = good.split(".")
    as_secret = segment(KEY.as_pem(private=False).decode())[:43]
    hmac = jwt.encode({**HEADER, "alg": "HS256"}, CLAIMS, OctKey.import_key(b"x" * 32), algorithms=["HS256"])
    return {
        "another key": token(key=OTHER),
        "another key, our kid": token(header={"kid": KEY.kid}, key=OTHER),
        "the key in the header": token(header={"jwk": OTHER.as_dict(private=False)}, key=OTHER),
        "alg none": f"{segment({**HEADER, 'alg': 'none'})}.{body}.",
        "HS256": hmac,
        "the public key as a secret": f"{segment({**HEADER, 'alg': 'HS256'})}.{body}.{as_secret}",
        "no signature": f"{head}.{body}.",
        "a zero signature": f"{head}.{body}.{'A' * len(signature)}",
        "another payload": f"{head}.{segment({**CLAIMS, 'sub': 'star'})}.{signature}",
        "unencoded payload": token(header={"b64": True, "crit": ["b64"]})[:-2],
        "leading space": " " + good,
        "trailing newline": good + "\n",
        "padding": good + "==",
        "empty": "",
        "dots": "..",
        "not ascii": good + "é",
        "huge": "e" * 200_000,
        "deep header": base64.urlsafe_b64encode(b"[" * 5000).decode() + f".{body}.{signature}",
    }


FORGED = forged()


@pytest.mark.parametrize("name", ["sub", "exp", "aud"])
def test_a_claim_given_twice_is_refused(name: str) -> None:
    twice = f'{{"{name}":"other",{json.dumps(CLAIMS)[1:]}'
    signed = jws.serialize_compact({**HEADER}, twice.encode(), KEY)
    with pytest.raises(TokenRejected):
        verifier().verify(signed)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused(name: str) -> None:
    with pytest.raises(TokenRejected):
        verifier().verify(FORGED[name])
