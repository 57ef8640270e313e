"""Settings: one sentence for every mistake, and never a secret in it."""

import base64
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from listeners import CannotListen, bind_internal
from settings import Environment, Service, SettingsError, load

ROOT = Path(__file__).resolve().parents[2]
SECRET = base64.b64encode(secrets.token_bytes(32)).decode()
PRODUCTION = {
    "KITH_ENV": "production",
    "KITH_POSTGRES_DSNS": "postgresql://kith:hunter2@a/kith,postgresql://kith:hunter2@b/kith",
    "KITH_REDIS_URL": "rediss://:hunter2@redis:6379",
    "KITH_KAFKA_BOOTSTRAP": "kafka:9092",
    "KITH_POSTGRES_CA": "/etc/kith/ca.pem",
    "KITH_KAFKA_CA": "/etc/kith/ca.pem",
    "KITH_SECRET_KEY": SECRET,
    "KITH_AUTH_JWKS_FILE": "/etc/kith/jwks.json",
    "KITH_AUTH_ISSUER": "https://login.example.com",
    "KITH_AUTH_AUDIENCE": "kith",
}


VERIFIED = "?sslmode=verify-full&sslrootcert=%2Fetc%2Fkith%2Fca.pem"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("KITH_POSTGRES_DSNS", {"KITH_POSTGRES_CA": ""}),
        ("KITH_POSTGRES_DSNS", {"KITH_POSTGRES_DSNS": "postgresql://a/kith?sslmode=require"}),
        ("KITH_POSTGRES_DSNS", {"KITH_POSTGRES_DSNS": "postgresql:///kith?host=a", "KITH_POSTGRES_CA": ""}),
        ("KITH_REPLICA_DSNS", {"KITH_REPLICA_DSNS": "postgresql://b/kith?sslmode=prefer"}),
        ("KITH_REDIS_URL", {"KITH_REDIS_URL": "redis://redis:6379"}),
        ("KITH_REDIS_URL", {"KITH_REDIS_URL": "rediss://redis:6379?ssl_cert_reqs=none"}),
        ("KITH_REDIS_URL", {"KITH_REDIS_URL": "redis+cluster://127.0.0.1:7000,redis:7000"}),
        ("KITH_KAFKA_BOOTSTRAP", {"KITH_KAFKA_CA": ""}),
    ],
)
def test_production_speaks_to_no_other_machine_that_nothing_verifies(name: str, given: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} leads to another machine, and nothing verifies it"):
        load({**PRODUCTION, **given})


def test_a_socket_or_the_loopback_needs_no_certificate() -> None:
    local = {
        "KITH_POSTGRES_DSNS": "postgresql://kith@/kith?host=/run/pg,postgresql://localhost/k,postgresql://[::1]:5432/k",
        "KITH_REDIS_URL": "unix:///run/valkey.sock",
        "KITH_KAFKA_BOOTSTRAP": "127.0.0.1:9092,localhost:9093",
        "KITH_POSTGRES_CA": "",
        "KITH_KAFKA_CA": "",
    }
    assert load({**PRODUCTION, **local}).is_production


def test_nothing_set_is_development_on_embedded_parts() -> None:
    settings = load({"PATH": "/bin"})
    assert settings.env is Environment.DEVELOPMENT
    assert (settings.dsns, settings.redis_url, settings.kafka_bootstrap) == ((), None, None)


def test_a_production_that_has_everything_starts() -> None:
    settings = load(PRODUCTION)
    assert settings.is_production
    assert len(settings.dsns) == 2


def test_a_production_may_find_its_issuers_keys_by_itself() -> None:
    assert load({name: value for name, value in PRODUCTION.items() if name != "KITH_AUTH_JWKS_FILE"}).is_production


def test_the_auth_service_needs_other_settings_than_the_user_service() -> None:
    given = {
        name: value for name, value in PRODUCTION.items() if name not in ("KITH_POSTGRES_DSNS", "KITH_AUTH_ISSUER")
    }
    own = {
        "KITH_IDENTITY_DSN": "postgresql://kith:hunter2@c/identity",
        "KITH_IDENTITY_URL": "https://auth.example.com/",
        "KITH_INTERNAL_URL": "http://kith.internal:8200",
        "KITH_SMTP_URL": "smtps://kith:hunter2@mail.example.com",
        "KITH_MAIL_FROM": "Kith <no-reply@example.com>",
    }
    assert load({**given, **own}, Service.IDENTITY).identity_url == "https://auth.example.com"
    for missing in own:
        with pytest.raises(SettingsError, match=f"^{missing} is required in production"):
            load({**given, **own, missing: ""}, Service.IDENTITY)


@pytest.mark.parametrize(
    "url", ["http://auth.example.com", "https://a:b@auth.example.com", "https://auth.example.com/x", "auth", "https://"]
)
def test_the_auth_service_is_reached_at_an_origin_of_https(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^KITH_IDENTITY_URL has a bad value"):
        load({**PRODUCTION, "KITH_IDENTITY_URL": url})


def test_commands_are_heard_at_a_private_address_only() -> None:
    for host in ("0.0.0.0", "::"):  # noqa: S104 - what is refused
        with pytest.raises(CannotListen, match="KITH_INTERNAL_HOST"):
            bind_internal(load({"KITH_INTERNAL_HOST": host}))
    [listener] = bind_internal(load({}))
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_replicas_are_listed_by_cell() -> None:
    given = load({**PRODUCTION, "KITH_REPLICA_DSNS": ", postgresql://b1 | postgresql://b2"})
    assert given.replicas == ((), (f"postgresql://b1{VERIFIED}", f"postgresql://b2{VERIFIED}"))


@pytest.mark.parametrize(
    "missing", sorted(name for name in PRODUCTION if name != "KITH_ENV" and not name.endswith(("_FILE", "_CA")))
)
def test_production_names_what_it_lacks(missing: str) -> None:
    environ = {name: value for name, value in PRODUCTION.items() if name != missing}
    with pytest.raises(SettingsError, match=f"^{missing} is required in production"):
        load(environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KITH_ENV", "staging"),
        ("KITH_PORT", "0"),
        ("KITH_PORT", "65536"),
        ("KITH_PORT", "http"),
        ("KITH_WORKERS", "0"),
        ("KITH_CELLS", "65"),
        ("KITH_POSTGRES_DSNS", "mysql://hunter2@db"),
        ("KITH_REPLICA_DSNS", "mysql://hunter2@db"),
        ("KITH_REPLICA_DSNS", "postgresql://a,postgresql://hunter2@b"),
        ("KITH_REDIS_URL", "http://hunter2"),
        ("KITH_SECRET_KEY", "hunter2"),
        ("KITH_SECRET_KEY", base64.b64encode(b"hunter2").decode()),
        ("KITH_TEST_SERVICES", "mocks"),
    ],
)
def test_a_bad_value_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} has a bad value; it takes ") as caught:
        load({name: value})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_unknown_name_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(SettingsError, match=r"KITH_POSTGRES_DSN is not a setting; did you mean KITH_POSTGRES_DSNS\?"):
        load({"KITH_POSTGRES_DSN": "x"})
    with pytest.raises(SettingsError, match="known are KITH_ENV, "):
        load({"KITH_QQQQ": "x"})


def test_settings_show_no_secret_when_printed() -> None:
    text = repr(load(PRODUCTION))
    assert "hunter2" not in text
    assert SECRET not in text


@pytest.mark.parametrize(
    "environ",
    [{"KITH_COLOUR": "blue"}, {"KITH_PORT": "x"}, {"KITH_ENV": "production"}, {"KITH_SECRET_KEY": "hunter2"}],
    ids=lambda environ: next(iter(environ)),
)
def test_the_server_says_one_sentence_and_leaves_with_status_2(environ: dict[str, str]) -> None:
    command = [sys.executable, "server.py"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("kith: KITH_")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def test_the_clock_of_the_purge_is_moved_in_development_alone() -> None:
    assert load({"KITH_DAYS_AHEAD": "31"}).days_ahead == 31
    with pytest.raises(SettingsError, match="KITH_DAYS_AHEAD"):
        load({**PRODUCTION, "KITH_DAYS_AHEAD": "31"})
