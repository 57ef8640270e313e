import dataclasses
import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Final

import pytest

from identity.passkeys import CHALLENGE_S, Challenges, Passkey, PasskeyRefused, RelyingParty, credential_in
from tests.authenticator import PRESENT, Authenticator

ORIGIN: Final = "https://id.example.org"
PARTY: Final = RelyingParty(ORIGIN)
CHALLENGES: Final = Challenges(b"k" * 32)
NOW: Final = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
ACCOUNT: Final = uuid.uuid4()
CHALLENGE: Final = b"c" * 56


def registered(device: Authenticator) -> Passkey:
    made, challenge = PARTY.registered(ACCOUNT, device.create(PARTY.creation(ACCOUNT, "ana@x.org", CHALLENGE, ())))
    assert challenge == CHALLENGE
    return made


def device_at(origin: str = ORIGIN, host: str = "id.example.org") -> Authenticator:
    return Authenticator(origin, host)


def test_a_passkey_is_registered_and_used_and_counts() -> None:
    device = device_at()
    passkey = registered(device)
    answer = device.get(PARTY.request(CHALLENGE, [passkey.credential_id]))
    assert credential_in(answer) == passkey.credential_id
    assert PARTY.used(passkey, answer) == (2, CHALLENGE)


def test_making_one_asks_for_verification_and_leaves_out_devices_that_have_one() -> None:
    options = json.loads(PARTY.creation(ACCOUNT, "ana@x.org", CHALLENGE, [b"old"]))
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["excludeCredentials"][0]["id"] == "b2xk"
    assert json.loads(PARTY.request(CHALLENGE))["userVerification"] == "required"


@pytest.mark.parametrize(
    "device",
    [
        device_at("https://id.example.org.evil.example"),
        device_at("http://id.example.org"),
        device_at(host="evil.example"),
        dataclasses.replace(device_at(), flags=PRESENT),
        dataclasses.replace(device_at(), flags=0),
    ],
    ids=["another origin", "no tls", "another party", "owner not verified", "nobody present"],
)
def test_what_was_made_elsewhere_or_by_nobody_is_refused(device: Authenticator) -> None:
    with pytest.raises(PasskeyRefused):
        registered(device)
    honest = device_at()
    passkey = registered(honest)
    forged = dataclasses.replace(device, key=honest.key, credential_id=honest.credential_id, count=5)
    with pytest.raises(PasskeyRefused):
        PARTY.used(passkey, forged.get(PARTY.request(CHALLENGE)))


def test_the_signature_of_another_key_and_a_count_that_went_back_are_refused() -> None:
    device = device_at()
    passkey = registered(device)
    thief = dataclasses.replace(device_at(), credential_id=device.credential_id, count=5)
    with pytest.raises(PasskeyRefused):
        PARTY.used(passkey, thief.get(PARTY.request(CHALLENGE)))
    copy = dataclasses.replace(passkey, sign_count=9)
    with pytest.raises(PasskeyRefused):
        PARTY.used(copy, device.get(PARTY.request(CHALLENGE)))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "x" * 10_000, '{"id": "a", "rawId": "b"}', "\x00"])
@pytest.mark.parametrize(
    "read",
    [
        lambda text: PARTY.registered(ACCOUNT, text),
        lambda text: PARTY.used(Passkey(b"a", ACCOUNT, b"", 0), text),
        credential_in,
    ],
)
def test_what_is_no_answer_is_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(PasskeyRefused):
        read(text)


def test_a_challenge_is_for_one_purpose_one_browser_and_five_minutes() -> None:
    challenge = CHALLENGES.make("sign-in", "browser", NOW)
    assert CHALLENGES.is_good(challenge, "sign-in", "browser", NOW)
    assert not CHALLENGES.is_good(challenge, "add", "browser", NOW)
    assert not CHALLENGES.is_good(challenge, "sign-in", "another", NOW)
    assert not CHALLENGES.is_good(challenge, "sign-in", "browser", NOW + dt.timedelta(seconds=CHALLENGE_S))
    assert not CHALLENGES.is_good(challenge[:-1] + b"?", "sign-in", "browser", NOW)
    assert not CHALLENGES.is_good(b"", "sign-in", "browser", NOW)
    assert not Challenges(b"o" * 32).is_good(challenge, "sign-in", "browser", NOW)
