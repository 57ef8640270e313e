"""The house: imports run one way, drivers stay in the folder that owns them, and only `privacy` makes `Visible`."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FOUNDATION = {"settings", "logs", "keys"}
MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "privacy": {"domain"},
    "settings": {"tls"},
    "tls": set(),
    "logs": {"domain"},
    "keys": {"settings"},
    "embedded": {"settings"},
    "storage": {"domain"},
    "loaders": {"domain", "storage"},
    "resolvers": {"domain", "privacy", "loaders", "storage"},
    "schema": {"domain", "privacy", "resolvers"},
    "execution": {"domain", "loaders", "schema"},
    "auth": {"domain", *FOUNDATION},
    "identity": {"domain", "listeners", *FOUNDATION},
    "transport": {"domain", "auth", "resolvers", "schema", "execution"},
    "events": {"domain", "privacy", "storage", "tls"},
    "examples": set(),
    "benchmarks": {
        "domain",
        "privacy",
        "storage",
        "loaders",
        "resolvers",
        "schema",
        "execution",
        "auth",
        "embedded",
        "development",
        *FOUNDATION,
    },
    "listeners": {"settings"},
    "development": {"domain", "auth", "embedded", "identity", "listeners", "storage", *FOUNDATION},
    "server": {
        "development",
        "listeners",
        "domain",
        "auth",
        "embedded",
        "events",
        "storage",
        "loaders",
        "resolvers",
        "schema",
        "execution",
        "transport",
    }
    | FOUNDATION,
}
EDGES = {
    "identity": {
        "storage.vault",  # the same encryption of what is personal
        "storage.master_keys",
        "storage.key_service",
        "storage.migrate",  # the same way of running files once
        "storage.signed_client",  # the same way of asking the other service
        "storage.rate_windows",  # the same windows in Redis
        "storage.redis_client",
        "transport.addresses",  # the same reading of who asks
        "transport.answers",  # the same form of what is turned away
        "transport.connection",  # the same bounds of connections
        "transport.connections",
        "transport.health",  # the same two answers
        "transport.serving",  # the same way to serve, and to stop
        "events.records",  # the form of facts
        "events.groups",  # how a group reads them
        "events.broker",
    },
}
"""Single modules that a folder may import of one that it otherwise knows nothing of: they know no table of it."""
COMMANDS = {
    "storage.migrate": {"embedded", *FOUNDATION},
    "storage.import_graph": {"embedded", *FOUNDATION},
    "storage.audit.__main__": {"embedded", *FOUNDATION},
    "storage.rotate_keys": {"embedded", *FOUNDATION},
    "loaders.checker": {"embedded", *FOUNDATION},
    "storage.purges.__main__": {"embedded", *FOUNDATION},
    "auth.token": {"embedded", "storage"},
    "auth.revoke": {"embedded", "storage"},
    "identity.addresses": {"embedded"},
    "events.process": {"embedded", *FOUNDATION},
    "events.dead_letters": {"embedded", *FOUNDATION},
    "events.replay": {"embedded", *FOUNDATION},
    "events.quarantine": {"embedded", *FOUNDATION},
}
"""Modules that are run by themselves, and so may also read settings and find the parts."""

OWNERS = {
    "asyncpg": {"storage", "embedded", "identity", "benchmarks"},
    "redis": {"storage", "benchmarks"},
    "hiredis": {"storage"},
    "aiokafka": {"events", "embedded", "examples", "identity"},
    "strawberry": {"schema", "benchmarks"},
    "graphql": {"execution", "schema", "transport", "benchmarks"},
    "limits": {"storage"},
    "aiodataloader": {"loaders", "schema"},
    "authlib": {"identity"},
    "aiohttp": {"auth", "identity", "storage", "transport", "benchmarks", "examples"},
    "joserfc": {"auth", "identity"},
    "jsonschema": {"domain"},
    "argon2": {"identity"},
    "jinja2": {"identity"},
    "pyotp": {"identity"},
    "webauthn": {"identity"},
    "aiosmtplib": {"identity"},
    "pydantic": {"settings"},
    "pydantic_settings": {"settings"},
}


def modules() -> list[Path]:
    files = [path for name in MAY_IMPORT for path in (ROOT / name).rglob("*.py")]
    return sorted([*files, *(ROOT / f"{name}.py" for name in MAY_IMPORT if (ROOT / f"{name}.py").exists())])


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def wrong_imports(name: str, imports: Iterator[str]) -> list[str]:
    package = name.partition(".")[0]
    allowed = {package, *MAY_IMPORT[package], *COMMANDS.get(name, set())}
    wrong = []
    for target in imports:
        top = target.partition(".")[0]
        known = top in allowed or target in EDGES.get(package, set())
        if (top in MAY_IMPORT and not known) or package not in OWNERS.get(top, {package}):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    assert wrong_imports(name_of(path), imported(path)) == []


def test_a_turned_arrow_and_a_stray_driver_are_found() -> None:
    assert wrong_imports("domain.users", iter(["storage.users"])) == ["storage.users"]
    assert wrong_imports("resolvers.people", iter(["asyncpg", "domain.users"])) == ["asyncpg"]


def test_every_folder_and_module_of_ours_has_its_rule() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    files = {path.stem for path in ROOT.glob("*.py")}
    assert folders | files == set(MAY_IMPORT)


def makes_visible(tree: ast.AST) -> bool:
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = {
        function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "") for function in called
    }
    return "Visible" in names


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_privacy_makes_visible(path: Path) -> None:
    if name_of(path) != "privacy.policy":
        assert not makes_visible(ast.parse(path.read_text()))


def test_a_forged_visible_is_found() -> None:
    assert makes_visible(ast.parse("person = policy.Visible(user, relationship, None, now)"))


def test_our_names_shadow_nothing_of_the_standard_library() -> None:
    assert not set(MAY_IMPORT) & set(sys.stdlib_module_names)
