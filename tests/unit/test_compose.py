"""The containers: what the files say must exist here, be reachable from this machine only, and look after itself."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

from auth.discovery import is_trustworthy
from domain.events import TOPICS
from events.consumer import READ_TOPICS, SESSION_TIMEOUT_MS
from settings import _REQUIRED_IN_PRODUCTION, _SET_IN_PRODUCTION, PREFIX, Settings, load

ROOT: Final = Path(__file__).resolve().parents[2]
FILE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = FILE["services"]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text()
IGNORED: Final = (ROOT / ".dockerignore").read_text().splitlines()
GUIDE: Final = (ROOT / "deploy" / "README.md").read_text()
ONE_SHOT: Final = {"citus-setup", "migrate", "seed"}
SHOWN: Final = {"server", "identity"}
"""What people open in a browser."""
OURS: Final = {name for name, service in SERVICES.items() if service.get("build") == "."}

every_service = pytest.mark.parametrize("name", SERVICES)
our_service = pytest.mark.parametrize("name", sorted(OURS))
long_running = pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOT))


def environment(name: str) -> dict[str, str]:
    return {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}


def settings_in(text: str) -> set[str]:
    return {name.lower() for name in re.findall(rf"\b{PREFIX}([A-Z_]*[A-Z])\b", text)}


def volumes(name: str) -> dict[str, str]:
    """Give the path in the container by what is mounted there."""
    return {source: rest.split(":")[0] for source, rest in (v.split(":", 1) for v in SERVICES[name].get("volumes", []))}


def test_the_same_parts_run_as_in_make_run() -> None:
    assert set(SERVICES) == ONE_SHOT | {
        "citus-coordinator",
        "citus-worker",
        "valkey",
        "kafka",
        "server",
        "identity",
        "relay",
        "consumer",
        "upkeep",
    }
    assert {"migrate", "seed", "server", "identity", "relay", "consumer", "upkeep"} == OURS


@our_service
def test_the_settings_of_a_service_are_good_and_leave_nothing_to_be_embedded(name: str) -> None:
    given = load({"KITH_HOST": "0.0.0.0", **environment(name)})  # noqa: S104 - as in the image
    assert not given.is_production
    assert given.dsns
    assert given.redis_url is not None
    assert given.kafka_bootstrap is not None


@pytest.mark.parametrize("file", ["docker-compose.yml", "Dockerfile", "deploy/README.md"])
def test_every_variable_that_a_file_names_is_a_setting(file: str) -> None:
    assert settings_in((ROOT / file).read_text()) <= Settings.model_fields.keys()


def test_the_guide_names_every_variable() -> None:
    development = {"cells", "test_services", "days_ahead"}
    assert settings_in(GUIDE) >= Settings.model_fields.keys() - development
    required = [line for line in GUIDE.splitlines() if line.startswith("|") and "| yes |" in line]
    assert settings_in("\n".join(required)) == {*_REQUIRED_IN_PRODUCTION, *_SET_IN_PRODUCTION}


@pytest.mark.parametrize("file", ["docker-compose.yml", "Dockerfile", "deploy/README.md"])
def test_every_module_that_a_file_runs_exists(file: str) -> None:
    text = (ROOT / file).read_text()
    modules = re.findall(r"python[\",]* [\"]?-m[\",]* [\"]?([\w.]+)", text)
    assert modules or file == "Dockerfile"
    assert [module for module in modules if module != "venv" and importlib.util.find_spec(module) is None] == []


@our_service
def test_what_a_service_runs_is_in_the_image(name: str) -> None:
    program, first, *rest = SERVICES[name]["command"]
    assert program == "python"
    found = (ROOT / first).exists() if first != "-m" else importlib.util.find_spec(rest[0]) is not None
    assert found
    top = (first if first != "-m" else rest[0]).split(".")[0]
    assert top not in IGNORED


@every_service
def test_only_this_machine_reaches_a_published_port(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert all(isinstance(port, str) and port.startswith("127.0.0.1:") for port in ports)
    assert bool(ports) is (name in SHOWN)
    assert "network_mode" not in SERVICES[name]


@every_service
def test_every_image_has_a_pinned_tag(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:[a-z0-9][\w.-]*", SERVICES[name]["image"])
    assert not SERVICES[name]["image"].endswith("latest")


def test_every_stage_of_the_image_has_a_pinned_tag() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 3
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]*", base) for base in bases)


@long_running
def test_a_long_running_service_is_checked_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "start_period", "retries"} <= service["healthcheck"].keys()


@pytest.mark.parametrize("name", sorted(ONE_SHOT))
def test_a_one_shot_service_runs_once_and_is_waited_for_to_its_end(name: str) -> None:
    assert SERVICES[name]["restart"] == "no"
    awaited = [service["depends_on"][name] for service in SERVICES.values() if name in service.get("depends_on", {})]
    assert awaited
    assert all(one == {"condition": "service_completed_successfully"} for one in awaited)


@every_service
def test_what_a_service_waits_for_exists_and_can_come_true(name: str) -> None:
    for other, dependency in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert dependency["condition"] == ("service_completed_successfully" if other in ONE_SHOT else "service_healthy")


def test_the_schema_is_there_before_anybody_reads_it() -> None:
    def waits_for(name: str) -> Iterator[str]:
        for other in SERVICES[name].get("depends_on", {}):
            yield other
            yield from waits_for(other)

    assert all({"citus-setup", "citus-worker", "migrate"} <= set(waits_for(name)) for name in OURS - {"migrate"})
    assert {"citus-setup", "citus-coordinator"} <= set(waits_for("migrate"))


def test_those_who_need_the_development_keys_share_their_folder() -> None:
    [folder] = re.findall(r"KITH_DATA_DIR=(\S+)", DOCKERFILE)
    assert {name for name in OURS if volumes(name).get("kith-data") == folder} == OURS - {"migrate"}
    assert f"--mode 0700 {folder}" in DOCKERFILE


@every_service
def test_what_is_mounted_exists(name: str) -> None:
    for source in volumes(name):
        assert (ROOT / source).exists() if source.startswith("./") else source in FILE["volumes"]


def test_the_addresses_are_those_of_the_services() -> None:
    given = environment("server")
    assert given["KITH_POSTGRES_DSNS"] == "postgresql://kith@citus-coordinator:5432/kith"
    assert (
        environment("citus-coordinator")["POSTGRES_DB"] == environment("citus-coordinator")["POSTGRES_USER"] == "kith"
    )
    assert given["KITH_REDIS_URL"] == "redis://valkey:6379"
    assert f"PLAINTEXT://{given['KITH_KAFKA_BOOTSTRAP']}" in environment("kafka")["KAFKA_ADVERTISED_LISTENERS"]
    setup = (ROOT / "deploy" / "citus" / "setup.sql").read_text()
    assert set(re.findall(r"citus-\w+", setup)) == {"citus-coordinator", "citus-worker"}


def test_the_auth_service_and_the_server_find_each_other_where_browsers_find_the_one() -> None:
    identity, server = environment("identity"), environment("server")
    at = urlsplit(identity["KITH_IDENTITY_URL"])
    assert is_trustworthy(identity["KITH_IDENTITY_URL"])
    assert server["KITH_IDENTITY_URL"] == identity["KITH_IDENTITY_URL"]
    assert SERVICES["identity"]["networks"]["default"]["aliases"] == [at.hostname]
    assert SERVICES["identity"]["ports"] == [f"127.0.0.1:{at.port}:{identity['KITH_IDENTITY_PORT']}"]
    commands = urlsplit(identity["KITH_INTERNAL_URL"])
    assert commands.hostname == server["KITH_INTERNAL_HOST"] == "server"
    assert str(commands.port) == server["KITH_INTERNAL_PORT"]
    assert not any(port.endswith(server["KITH_INTERNAL_PORT"]) for port in SERVICES["server"]["ports"])
    questions = urlsplit(environment("upkeep")["KITH_IDENTITY_INTERNAL_URL"])
    assert questions.hostname == identity["KITH_INTERNAL_HOST"] == "identity"
    assert str(questions.port) == identity["KITH_IDENTITY_INTERNAL_PORT"]


def test_the_broker_takes_our_consumer_and_makes_no_topic_by_itself() -> None:
    broker = environment("kafka")
    assert int(broker["KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS"]) <= SESSION_TIMEOUT_MS
    assert broker["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert set(READ_TOPICS) <= set(TOPICS)


def test_an_image_holds_no_data_no_secret_and_runs_as_a_user() -> None:
    assert {".kith", ".git", ".venv", ".env*", "tests"} <= set(IGNORED)
    assert "--require-hashes" in DOCKERFILE
    assert DOCKERFILE.index("USER kith") < DOCKERFILE.index("\nCMD ")
    assert "KITH_ENV=production" in DOCKERFILE
    assert not settings_in(DOCKERFILE) & {"secret_key", "postgres_dsns", "redis_url"}


def test_no_file_holds_a_password() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert "KITH_SECRET_KEY" not in text
    assert "PASSWORD" not in text
    assert re.findall(r"://[^\s/@:]+:[^\s/@]+@", text) == []


@pytest.fixture
def port() -> Iterator[int]:
    """Give the port of a server that is well at /readyz and /metrics, and nowhere else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in ("/readyz", "/metrics") else 503)
            self.end_headers()

        def log_message(self, *_details: object) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def run_check(words: list[str], environ: dict[str, str] | None = None) -> int:
    assert words[0] == "python"
    return subprocess.run([sys.executable, *words[1:]], env=environ, stderr=subprocess.DEVNULL, check=False).returncode


@pytest.mark.parametrize("name", ["server", "identity", "relay", "consumer", "upkeep"])
def test_a_health_check_tells_well_from_unwell(name: str, port: int) -> None:
    *check, its_port, path = SERVICES[name]["healthcheck"]["test"][1:]
    assert its_port == environment(name).get("KITH_METRICS_PORT", SERVICES[name].get("ports", [":"])[0].split(":")[-1])
    assert path == ("/readyz" if name in SHOWN else "/metrics")
    assert run_check([*check, str(port), path]) == 0
    assert run_check([*check, str(port), "/elsewhere"]) != 0
    assert run_check([*check, "1", path]) != 0


def test_the_health_check_of_the_image_asks_the_port_that_is_set(port: int) -> None:
    [words] = re.findall(r"^    CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert run_check(json.loads(words), {"KITH_PORT": str(port)}) == 0
    assert run_check(json.loads(words), {"KITH_PORT": "1"}) != 0
