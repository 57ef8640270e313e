"""The only reader of the environment: `KITH_…` variables in, one frozen value or one sentence that says why not out."""

import base64
import binascii
import contextlib
import difflib
import enum
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, NoReturn
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from tls import TlsFiles, is_verified, verified_dsn, verified_kafka, verified_redis

PREFIX: Final = "KITH_"
SECRET_BYTES: Final = 32
_REDIS_SCHEMES: Final = ("redis://", "rediss://", "unix://", "redis+cluster://", "rediss+cluster://")


class SettingsError(Exception):
    """A variable is wrong; the message names it and says what to do, and shows no value."""


class Environment(enum.StrEnum):
    """Where the service runs."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Plans(enum.StrEnum):
    """Whether compiled query plans run: never, always where there is one, or beside graphql-core for comparison."""

    OFF = "off"
    ON = "on"
    SHADOW = "shadow"


class RateLimits(enum.StrEnum):
    """What becomes of what goes beyond a limit: it is refused, or only counted."""

    ENFORCED = "enforced"
    COUNTED = "counted"


class Service(enum.Enum):
    """Whose settings are read: the user service's processes need other things than the auth service."""

    USERS = "users"
    IDENTITY = "identity"


class TestServices(enum.StrEnum):
    """What the tests run on."""

    EMBEDDED = "embedded"
    CONTAINERS = "containers"


class Settings(BaseSettings):
    """Everything that can be set. Each field is the variable `KITH_` + its name in capitals; the text says its form."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True, extra="forbid")

    env: Environment = Field(Environment.DEVELOPMENT, description="development or production")
    host: str = Field("127.0.0.1", min_length=1, description="an address to listen on, such as 127.0.0.1")
    port: int | None = Field(None, ge=1, le=65535, description="a port between 1 and 65535 (8000 if not set)")
    data_dir: Path = Field(Path(".kith"), description="a folder for development keys and embedded data")
    cells: int = Field(1, ge=1, le=64, description="how many embedded cells, 1 to 64")
    workers: int = Field(1, ge=1, le=64, description="how many server processes, 1 to 64")
    postgres_dsns: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="postgresql:// addresses, one per cell, separated by commas"
    )
    replica_dsns: Annotated[tuple[tuple[SecretStr, ...], ...], NoDecode] = Field(
        (),
        description="addresses of read replicas: those of one cell by |, cells by commas in KITH_POSTGRES_DSNS' order",
    )
    redis_url: SecretStr | None = Field(
        None, description="a redis://, rediss:// or unix:// address, or redis+cluster://"
    )
    kafka_bootstrap: str | None = Field(None, min_length=1, description="host:port of the brokers, by commas")
    postgres_ca: Path | None = Field(
        None, description="a file with the authorities, in PEM, of the databases' certificates"
    )
    redis_ca: Path | None = Field(None, description="a file with the authorities, in PEM, of Redis' certificate")
    kafka_ca: Path | None = Field(None, description="a file with the authorities, in PEM, of the brokers' certificates")
    client_cert: Path | None = Field(None, description="a file with our own certificate in PEM, beside KITH_CLIENT_KEY")
    client_key: Path | None = Field(None, description="a file with the key of KITH_CLIENT_CERT in PEM, not encrypted")
    secret_key: SecretStr | None = Field(
        None, description="32 random bytes in base64, such as `openssl rand -base64 32`"
    )
    master_keys: Path | None = Field(
        None, description='a JSON file {"2": "32 bytes in base64"} of master keys by version, from 2 on'
    )
    key_service_url: str | None = Field(
        None, description="the https:// address of a transit engine, such as https://vault.internal:8200/v1/transit"
    )
    key_service_key: str = Field("kith", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="the name of a key there")
    key_service_token_file: Path | None = Field(None, description="a file with the token of the key service")
    key_service_ca: Path | None = Field(
        None, description="a file with the authorities, in PEM, of the key service's certificate"
    )
    auth_issuer: str = Field("https://auth.kith.localhost", description="the `iss` of access tokens")
    auth_audience: str = Field("kith", description="the `aud` of access tokens")
    auth_jwks_url: str | None = Field(None, min_length=1, description="the https:// address of the issuer's JWK set")
    auth_jwks_file: Path | None = Field(None, description="a file with the issuer's public keys as a JWK set")
    identity_dsn: SecretStr | None = Field(None, description="the postgresql:// address of the auth service's database")
    identity_url: str | None = Field(None, description="the https:// address of the auth service, without a path")
    identity_port: int | None = Field(None, ge=1, le=65535, description="a port of the auth service (8100 if not set)")
    identity_clients: Path | None = Field(
        None, description='a JSON file {"id": {"name": "…", "redirect_uris": ["https://…"]}} of applications'
    )
    internal_host: str = Field(
        "127.0.0.1", min_length=1, description="a private address on which a service hears the other one"
    )
    internal_port: int | None = Field(
        None, ge=1, le=65535, description="a port for the auth service's commands; they are heard nowhere else"
    )
    internal_url: str | None = Field(
        None, description="the http:// or https:// address where the user service hears the auth service's commands"
    )
    identity_internal_port: int | None = Field(
        None, ge=1, le=65535, description="a port for the user service's questions to the auth service"
    )
    identity_internal_url: str | None = Field(
        None, description="the http:// or https:// address where the auth service hears the user service's questions"
    )
    smtp_url: SecretStr | None = Field(
        None, description="smtps://user:password@host or smtp://… (with STARTTLS), by which mails are sent"
    )
    mail_from: str = Field("Kith <no-reply@localhost>", min_length=3, description="whom mails are from")
    password_blocklist: Path | None = Field(None, description="a file of further passwords to refuse, one a line")
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins of other sites whose pages may use the API, separated by commas"
    )
    tls_cert: Path | None = Field(None, description="a file with the certificate chain in PEM, beside KITH_TLS_KEY")
    tls_key: Path | None = Field(None, description="a file with the key of KITH_TLS_CERT in PEM, not encrypted")
    connections: int = Field(12_000, ge=1, description="how many connections of any kind a process holds")
    connections_per_address: int | None = Field(
        None, ge=1, description="how many of them one client address may have in a process (not behind a proxy)"
    )
    drain_delay: float = Field(
        0.0, ge=0, le=60, description="how many seconds a server that is to stop accepts connections still"
    )
    sockets: int = Field(10_000, ge=1, description="how many WebSockets and event streams a process holds")
    sockets_per_user: int = Field(20, ge=1, description="how many of them one person may have in all processes")
    sockets_per_address: int | None = Field(
        None, ge=1, description="how many of them one client address may have in a process"
    )
    query_timeout: float = Field(5.0, gt=0, le=60, description="how many seconds a query may take")
    mutation_timeout: float = Field(10.0, gt=0, le=60, description="how many seconds a mutation may take")
    cell_connections: int = Field(20, ge=1, le=1000, description="how many connections to a cell at most, per process")
    cache_mb: int = Field(128, ge=8, le=65536, description="how many megabytes a process remembers facts in, 8 or more")
    follow_limit: int = Field(7500, ge=1, description="how many people one may follow at most")
    follow_free: int = Field(2000, ge=0, description="how many people one may follow whatever one's own followers")
    follow_ratio: float = Field(1.1, ge=0, description="how many one may follow per own follower beyond the free ones")
    budget: int = Field(60_000, ge=100, description="how many points a person may spend a minute")
    budget_per_address: int = Field(
        40_000, ge=100, description="how many points an address may spend a minute where nobody is signed in"
    )
    rate_limits: RateLimits | None = Field(
        None, description="enforced or counted (if not set, enforced in production and counted in development)"
    )
    proxies: int = Field(
        0, ge=0, le=10, description="how many proxies in front add the client's address to X-Forwarded-For"
    )
    plans: Plans = Field(Plans.ON, description="off, on or shadow")
    trusted_documents: Path | None = Field(
        None, description='a JSON file {"sha256:…": "document"} of documents that clients may name'
    )
    only_trusted: bool = Field(False, description="true or false")  # noqa: FBT003 - the default of a field
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="a port for /metrics and probes of a background process"
    )
    erasure_consumers: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="names of services that acknowledge erasures on Kafka, separated by commas"
    )
    certificates_dir: Path | None = Field(None, description="a folder for certificates of erasure, outside of backups")
    days_ahead: float = Field(0.0, ge=0, le=3650, description="in development: by how many days purges come early")
    test_services: TestServices = Field(TestServices.EMBEDDED, description="embedded or containers")

    @field_validator("postgres_dsns", "allowed_origins", "erasure_consumers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("postgres_dsns")
    @classmethod
    def _are_postgres(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(dsn.get_secret_value().startswith(("postgresql://", "postgres://")) for dsn in value):
            raise ValueError
        return value

    @field_validator("identity_dsn")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        cls._are_postgres((value,) if value is not None else ())
        return value

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value()) if value is not None else None
        if parts is not None and (parts.scheme not in ("smtp", "smtps") or not parts.hostname):
            raise ValueError
        return value

    @field_validator("identity_url", "internal_url", "identity_internal_url")
    @classmethod
    def _is_origin(cls, value: str | None, info: ValidationInfo) -> str | None:
        is_public = info.field_name == "identity_url" and info.data.get("env") is Environment.PRODUCTION
        schemes = ("https",) if is_public else ("https", "http")
        if value is None:
            return None
        parts = urlsplit(value.rstrip("/"))
        if parts.scheme not in schemes or not parts.hostname or parts.username or parts.path or parts.query:
            raise ValueError
        return value.rstrip("/")

    @field_validator("replica_dsns", mode="before")
    @classmethod
    def _split_by_cell(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(tuple(part.strip() for part in cell.split("|") if part.strip()) for cell in value.split(","))

    @field_validator("replica_dsns")
    @classmethod
    def _are_replicas(
        cls, value: tuple[tuple[SecretStr, ...], ...], info: ValidationInfo
    ) -> tuple[tuple[SecretStr, ...], ...]:
        cells = len(info.data.get("postgres_dsns", ())) or info.data.get("cells", 0)
        if len(value) > cells:
            raise ValueError
        for dsns in value:
            cls._are_postgres(dsns)
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(_REDIS_SCHEMES):
            raise ValueError
        return value

    @field_validator("key_service_url")
    @classmethod
    def _is_engine(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise ValueError
        return value.rstrip("/") if value is not None else None

    @field_validator("secret_key")
    @classmethod
    def _is_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            decode_secret(value.get_secret_value())
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from `load` alone, which has checked their names."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @property
    def scheme(self) -> str:
        """Give the scheme of the addresses that are served."""
        return "https" if self.tls_cert is not None else "http"

    @property
    def key_service(self) -> tuple[str | None, str, Path | None, Path | None]:
        """Give the address of the key service, the name of the key, the file of the token, and the authorities."""
        return self.key_service_url, self.key_service_key, self.key_service_token_file, self.key_service_ca

    @property
    def is_production(self) -> bool:
        """Tell whether development conveniences are off."""
        return self.env is Environment.PRODUCTION

    @property
    def enforces_limits(self) -> bool:
        """Tell whether what goes beyond a limit is refused."""
        default = RateLimits.ENFORCED if self.is_production else RateLimits.COUNTED
        return (self.rate_limits or default) is RateLimits.ENFORCED

    @property
    def dsns(self) -> tuple[str, ...]:
        """Give the cells' addresses, secrets included: for the driver only."""
        return tuple(verified_dsn(dsn.get_secret_value(), self._files(self.postgres_ca)) for dsn in self.postgres_dsns)

    @property
    def redis_address(self) -> str:
        """Give the address of Redis, secrets included: for the driver only; empty where none is set."""
        return verified_redis(self.redis_url.get_secret_value(), self._files(self.redis_ca)) if self.redis_url else ""

    @property
    def kafka_address(self) -> str:
        """Give the addresses of the brokers; empty where none is set."""
        return verified_kafka(self.kafka_bootstrap, self._files(self.kafka_ca)) if self.kafka_bootstrap else ""

    @property
    def identity_address(self) -> str | None:
        """Give the address of the auth service's database, secrets included: for the driver only."""
        dsn = self.identity_dsn
        return verified_dsn(dsn.get_secret_value(), self._files(self.postgres_ca)) if dsn is not None else None

    def _files(self, ca: Path | None) -> TlsFiles:
        return TlsFiles(ca, self.client_cert, self.client_key)

    @property
    def certificates(self) -> Path | None:
        """Give where certificates of erasure are written: in development the data folder, where nothing else is set."""
        if self.certificates_dir is not None or self.is_production:
            return self.certificates_dir
        return self.data_dir / "certificates"

    @property
    def replicas(self) -> tuple[tuple[str, ...], ...]:
        """Give the addresses of each cell's replicas, secrets included: for the driver only."""
        files = self._files(self.postgres_ca)
        return tuple(tuple(verified_dsn(dsn.get_secret_value(), files) for dsn in dsns) for dsns in self.replica_dsns)


_REQUIRED_IN_PRODUCTION: Final = ("postgres_dsns", "redis_url", "kafka_bootstrap", "secret_key")
_SET_IN_PRODUCTION: Final = ("auth_issuer", "auth_audience")
_IDENTITY_REQUIRES: Final = (
    "identity_dsn",
    "identity_url",
    "internal_url",
    "redis_url",
    "kafka_bootstrap",
    "secret_key",
    "smtp_url",
)
_IDENTITY_SET: Final = ("auth_audience", "mail_from")


def load(environ: Mapping[str, str] = os.environ, service: Service = Service.USERS) -> Settings:
    """Read the settings of a process of one service.

    Raises:
        SettingsError: a name is unknown, a value is bad, or production lacks something.
    """
    given = {name[len(PREFIX) :].lower(): value for name, value in environ.items() if name.startswith(PREFIX)}
    for name in given:
        _check_name(name)
    try:
        settings = Settings(**{name: value for name, value in given.items() if value != ""})  # type: ignore[arg-type]
    except ValidationError as error:
        # The error itself holds the values, secrets among them: only the name of the field leaves this function.
        name = str(error.errors(include_input=False, include_context=False, include_url=False)[0]["loc"][0])
        raise SettingsError(_bad_value(name)) from None
    if settings.is_production:
        _check_production(settings, service)
    if settings.only_trusted and settings.trusted_documents is None:
        raise SettingsError("KITH_ONLY_TRUSTED needs documents to trust; set KITH_TRUSTED_DOCUMENTS as well.")
    if (settings.key_service_url is None) != (settings.key_service_token_file is None):
        raise SettingsError("KITH_KEY_SERVICE_URL and KITH_KEY_SERVICE_TOKEN_FILE go together; set both or none.")
    if (settings.client_cert is None) != (settings.client_key is None):
        raise SettingsError("KITH_CLIENT_CERT and KITH_CLIENT_KEY are of no use without each other; set both or none.")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsError("KITH_TLS_CERT and KITH_TLS_KEY are of no use without each other; set both or none.")
    return settings


def load_or_exit(environ: Mapping[str, str] = os.environ, service: Service = Service.USERS) -> Settings:
    """Read the settings, or print the sentence that says what is wrong and leave with status 2."""
    try:
        return load(environ, service)
    except SettingsError as error:
        _leave(str(error))


@contextlib.contextmanager
def leaving_on_bad_settings() -> Iterator[None]:
    """Leave with status 2 and the sentence that says why, where a setting turns out to be of no use later."""
    try:
        yield
    except SettingsError as error:
        _leave(str(error))


def _leave(sentence: str) -> NoReturn:
    sys.stderr.write(f"kith: {sentence}\n")
    raise SystemExit(2)


def decode_secret(text: str) -> bytes:
    """Decode a key of 32 bytes from base64, standard or URL-safe; raises ValueError."""
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/") + "=" * (-len(text.strip()) % 4))
    except binascii.Error:
        raise ValueError("not base64") from None
    if len(key) != SECRET_BYTES:
        raise ValueError("not 32 bytes")
    return key


def _check_name(name: str) -> None:
    if name in Settings.model_fields:
        return
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    hint = f"did you mean {PREFIX}{near[0].upper()}?" if near else f"known are {_known_names()}."
    raise SettingsError(f"{PREFIX}{name.upper()} is not a setting; {hint}")


def _known_names() -> str:
    return ", ".join(f"{PREFIX}{name.upper()}" for name in Settings.model_fields)


def _bad_value(name: str) -> str:
    return f"{PREFIX}{name.upper()} has a bad value; it takes {Settings.model_fields[name].description}."


def _check_production(settings: Settings, service: Service) -> None:
    for name in _IDENTITY_REQUIRES if service is Service.IDENTITY else _REQUIRED_IN_PRODUCTION:
        if not getattr(settings, name):
            raise SettingsError(_missing(name))
    if settings.days_ahead:
        raise SettingsError("KITH_DAYS_AHEAD is for development: in production nobody is purged before the time.")
    _check_verified(settings)
    if settings.key_service_url is not None and not settings.key_service_url.startswith("https://"):
        raise SettingsError("KITH_KEY_SERVICE_URL must be an https:// address in production.")
    for name in _IDENTITY_SET if service is Service.IDENTITY else _SET_IN_PRODUCTION:
        if name not in settings.model_fields_set:
            raise SettingsError(_missing(name))


def _check_verified(settings: Settings) -> None:
    """Refuse to speak to another machine without knowing that it is the one."""
    identity = (settings.identity_address,) if settings.identity_address else ()
    for name, addresses, remedy in (
        ("postgres_dsns", settings.dsns, "KITH_POSTGRES_CA"),
        ("replica_dsns", [dsn for dsns in settings.replicas for dsn in dsns], "KITH_POSTGRES_CA"),
        ("identity_dsn", identity, "KITH_POSTGRES_CA"),
        ("redis_url", [settings.redis_address], "rediss:// and KITH_REDIS_CA"),
        ("kafka_bootstrap", [settings.kafka_address], "KITH_KAFKA_CA"),
    ):
        if not all(is_verified(address) for address in addresses):
            raise SettingsError(
                f"{PREFIX}{name.upper()} leads to another machine, and nothing verifies it: set {remedy}."
            )


def _missing(name: str) -> str:
    return f"{PREFIX}{name.upper()} is required in production; set it to {Settings.model_fields[name].description}."
