"""The verifier accepts one kind of token and nothing else."""

import base64
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from auth.issuers import Issuer
from auth.jwks import FixedKeys, read_keys
from auth.verifier import Verifier
from domain.errors import TokenRejected

KEY = ECKey.generate_key("P-256", auto_kid=True)
OTHER = ECKey.generate_key("P-256", auto_kid=True)
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid}
NOW = int(time.time())
CLAIMS = {"iss": "https://i", "aud": "kith", "sub": "ana", "iat": NOW, "nbf": NOW, "exp": NOW + 60, "jti": "t"}
SigningKey = ECKey | OKPKey | RSAKey


class Clock:
    """A clock that is set."""

    now = float(NOW)

    def __call__(self) -> float:
        return self.now


def issued_with(*keys: Mapping[str, Any]) -> Issuer:
    return Issuer("https://i", FixedKeys(read_keys({"keys": keys})))


def public(key: SigningKey, **changes: object) -> dict[str, Any]:
    return {**key.as_dict(private=False), **changes}


def verifier(now: float = NOW, keys: Sequence[Mapping[str, Any]] = (KEY.as_dict(private=False),)) -> Verifier:
    return Verifier([issued_with(*keys)], audience="kith", clock=lambda: now)


def token(claims: Mapping[str, Any] = {}, header: Mapping[str, Any] = {}, key: SigningKey = KEY) -> str:
    merged = {name: value for name, value in {**HEADER, **header}.items() if value is not None}
    body = {name: value for name, value in {**CLAIMS, **claims}.items() if value != "absent"}
    return jwt.encode(merged, body, key, algorithms=[merged["alg"]])


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def segment(value: object) -> str:
    return encoded(json.dumps(value).encode())


def test_a_good_token_speaks_for_its_subject_until_it_ends() -> None:
    good = token()
    assert verifier().verify(good).subject == "ana"
    remembered = verifier()
    remembered.verify(good)
    assert remembered.verify(good).expires_at == NOW + 60


def test_a_remembered_token_ends_all_the_same() -> None:
    clock = Clock()
    checks = Verifier([issued_with(public(KEY))], audience="kith", clock=clock)
    good = token()
    checks.verify(good)
    clock.now += 66
    with pytest.raises(TokenRejected):
        checks.verify(good)


def test_a_remembered_token_ends_with_its_key() -> None:
    keys = read_keys({"keys": [public(KEY)]})
    checks = Verifier([Issuer("https://i", FixedKeys(keys))], audience="kith", clock=Clock())
    good = token()
    checks.verify(good)
    keys.clear()
    with pytest.raises(TokenRejected):
        checks.verify(good)


def named(parameter: object) -> str:
    """Name a case alike in all processes, whatever the time is and the keys that were made."""
    words = parameter if isinstance(parameter, dict) else [parameter if isinstance(parameter, str) else "key"]
    return " ".join(words)


@pytest.mark.parametrize("claims", [{"exp": NOW + 60.5}, {"exp": NOW + 900}, {"aud": ["kith"]}], ids=named)
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
        {"exp": NOW + 901},
        {"exp": float("inf")},
        {"iat": NOW - 900, "nbf": NOW},
        {"nbf": NOW + 4, "exp": NOW + 3},
        {"iat": NOW + 3600},
        {"iat": [NOW]},
        {"nbf": "absent"},
        {"nbf": NOW + 3600},
        {"nbf": "now"},
        {"aud": "absent"},
        {"aud": "other"},
        {"aud": ["kith", "other"]},
        {"aud": []},
        {"aud": ["kith", "kith"]},
        {"aud": "KITH"},
        {"iss": "absent"},
        {"iss": "https://i/"},
        {"iss": ["https://i"]},
        {"sub": "absent"},
        {"sub": ""},
        {"sub": 1},
        {"sub": ["ana"]},
        {"sub": "a" * 256},
        {"jti": "absent"},
        {"jti": 1},
        {"jti": ""},
        {"sid": 1},
        {"sid": ""},
        {"sid": "a b"},
        {"scope": ["read"]},
    ],
    ids=named,
)
def test_wrong_claims_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(TokenRejected):
        verifier().verify(token(claims))


@pytest.mark.parametrize(
    "header",
    [
        {"kid": None},
        {"kid": ""},
        {"kid": "../../dev/null"},
        {"typ": None},
        {"typ": "JWT"},
        {"typ": "application/at+jwt"},
        {"jku": "https://i/keys"},
        {"x5u": "https://i/keys"},
        {"jwk": KEY.as_dict(private=False)},
    ],
    ids=named,
)
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
        "another form of the same signature": good[:-1] + chr(ord(good[-1]) + 1),
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


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (OKPKey.generate_key("Ed25519", auto_kid=True), "EdDSA"),
        (OKPKey.generate_key("Ed25519", auto_kid=True), "Ed25519"),
        (RSAKey.generate_key(2048, auto_kid=True), "RS256"),
        (RSAKey.generate_key(2048, auto_kid=True), "PS256"),
    ],
    ids=named,
)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_keys_of_other_forms_are_accepted(key: SigningKey, algorithm: str) -> None:
    signed = token(header={"alg": algorithm, "kid": key.kid}, key=key)
    assert verifier(keys=[public(key, alg=algorithm)]).verify(signed).subject == "ana"
    other = next(name for name in ("RS256", "PS256", "ES256") if name != algorithm)
    with pytest.raises(TokenRejected):
        verifier(keys=[public(KEY), public(key, alg=other)]).verify(signed)


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"alg": "ES384"},
        {"alg": "HS256"},
        {"alg": 1},
        {"crv": "P-384"},
        {"crv": ["P-256"]},
        {"kty": "oct", "k": "AAAA"},
        {"x": "AAAA"},
        {"kid": ""},
        {"kid": 1},
    ],
    ids=named,
)
def test_a_key_that_is_not_for_this_is_passed_over(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenRejected):
        verifier(keys=[public(OTHER), public(KEY, **changes)]).verify(token())


def test_a_short_key_is_passed_over() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        short = RSAKey.generate_key(1024, auto_kid=True)
    with pytest.raises(ValueError, match="no key of use"):
        read_keys({"keys": [public(short)]})


def test_two_keys_of_one_name_are_both_passed_over() -> None:
    with pytest.raises(TokenRejected):
        verifier(keys=[public(KEY), public(OTHER, kid=KEY.kid), public(OTHER)]).verify(token())


def test_what_a_token_says_of_its_use_is_read() -> None:
    claims = verifier().verify(token({"sid": "s", "scope": "read  write"}))
    assert claims.scopes == frozenset({"read", "write"})
    assert (claims.session, claims.token_id) == ("s", "t")
    assert verifier().verify(token()).scopes is None


@pytest.mark.parametrize("name", ["sub", "exp", "aud"])
def test_a_claim_given_twice_is_refused(name: str) -> None:
    twice = f'{{"{name}":"other",{json.dumps(CLAIMS)[1:]}'
    signed = jws.serialize_compact({**HEADER}, twice.encode(), KEY)
    with pytest.raises(TokenRejected):
        verifier().verify(signed)


@pytest.mark.parametrize("name", ["kid", "alg"])
def test_a_part_of_the_header_given_twice_is_refused(name: str) -> None:
    header = f'{{"{name}":"other",{json.dumps(HEADER)[1:]}'
    start = f"{encoded(header.encode())}.{segment(CLAIMS)}"
    signature = jws.JWSRegistry.algorithms["ES256"].sign(start.encode(), KEY)
    with pytest.raises(TokenRejected):
        verifier().verify(f"{start}.{encoded(signature)}")


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused(name: str) -> None:
    with pytest.raises(TokenRejected):
        verifier().verify(FORGED[name])
