"""Secrets, one per purpose, all derived from the one configured key; in development that key is made on first use."""

import base64
import contextlib
import dataclasses
import json
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from settings import SECRET_BYTES, Settings, SettingsError, decode_secret

_FILE: Final = "secret.key"
_FIRST_OWN_VERSION: Final = 2


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """32 bytes for each purpose; losing or changing the configured key changes every id that clients hold."""

    opaque_ids: bytes
    cursors: bytes
    consistency: bytes
    audit_digests: bytes
    audit_seals: bytes
    certificates: bytes
    links: bytes
    rate_limits: bytes
    emails: bytes
    signing_keys: bytes
    refresh_tokens: bytes
    commands: bytes
    pages: bytes
    repeats: bytes


def load_keys(settings: Settings) -> Keys:
    """Derive the keys from `KITH_SECRET_KEY`, or in development from the data folder; raises SettingsError."""
    master = _master(settings)
    return Keys(
        opaque_ids=_derive(master, b"kith opaque ids"),
        cursors=_derive(master, b"kith cursors"),
        consistency=_derive(master, b"kith consistency tokens"),
        audit_digests=_derive(master, b"kith audit digests"),
        audit_seals=_derive(master, b"kith audit seals"),
        certificates=_derive(master, b"kith certificates of erasure"),
        links=_derive(master, b"kith links"),
        rate_limits=_derive(master, b"kith rate limits"),
        emails=_derive(master, b"kith e-mail addresses"),
        signing_keys=_derive(master, b"kith signing keys"),
        refresh_tokens=_derive(master, b"kith refresh tokens"),
        commands=_derive(master, b"kith commands between services"),
        pages=_derive(master, b"kith pages of the auth service"),
        repeats=_derive(master, b"kith repeats"),
    )


def load_master_keys(settings: Settings) -> dict[int, bytes]:
    """Give the master keys of personal data by version: the first is derived, the others are in `KITH_MASTER_KEYS`.

    Raises:
        SettingsError: the file cannot be read.
    """
    derived = _derive(_master(settings), b"kith master key 1")
    if settings.master_keys is None:
        return {1: derived}
    try:
        named = json.loads(settings.master_keys.read_text())
        return {1: derived} | {_version(name): decode_secret(text) for name, text in named.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        raise SettingsError(
            'KITH_MASTER_KEYS is a JSON file {"2": "32 bytes in base64"}, by versions from 2 on; it cannot be read so.'
        ) from None


def _version(name: str) -> int:
    version = int(name)
    if version < _FIRST_OWN_VERSION:
        raise ValueError
    return version


def _master(settings: Settings) -> bytes:
    if settings.secret_key is not None:
        return decode_secret(settings.secret_key.get_secret_value())
    return _read_secret(settings.data_dir / _FILE)


def _read_secret(path: Path) -> bytes:
    try:
        return decode_secret(private_file(path, _new_secret()).decode())
    except (OSError, ValueError):
        raise SettingsError(
            f"{path} cannot be read as a key; put back what it held, or remove the data folder."
        ) from None


def private_file(path: Path, content: bytes) -> bytes:
    """Give what the file holds, after making it with `content` and mode 0600 where there was none; safe in a race."""
    if path.exists():
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    # A link never replaces what is there: of several first starts at once, one wins and all read its content.
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(fresh)
    fresh.unlink()
    return path.read_bytes()


def _new_secret() -> bytes:
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)) + b"\n"


def _derive(master: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=purpose).derive(master)
