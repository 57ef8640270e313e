"""Keys of the issuer: a JWK set from a file, or in development a key pair that is made on first use."""

import json
from pathlib import Path
from typing import Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from keys import private_file
from settings import Settings, SettingsError

ALGORITHM: Final = "ES256"
_FILE: Final = Path("auth") / "development.jwk.json"


def development_key(settings: Settings) -> ECKey:
    """Give the private key that signs development tokens; raises SettingsError."""
    fresh = ECKey.generate_key("P-256", private=True, auto_kid=True)
    path = settings.data_dir / _FILE
    try:
        return ECKey.import_key(json.loads(private_file(path, json.dumps(fresh.as_dict(private=True)).encode())))
    except (OSError, ValueError, JoseError):
        raise SettingsError(f"{path} cannot be read as a key; remove it, and a new one is made.") from None


def verification_keys(settings: Settings) -> KeySet:
    """Give the public keys that tokens are checked with.

    Raises:
        SettingsError: the file of `KITH_AUTH_JWKS_FILE` cannot be read as a JWK set.
    """
    if settings.auth_jwks_file is not None:
        return _read_key_set(settings.auth_jwks_file)
    key = development_key(settings)
    return KeySet([ECKey.import_key(key.as_dict(private=False))])


def _read_key_set(path: Path) -> KeySet:
    try:
        return KeySet.import_key_set(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, JoseError):
        raise SettingsError("KITH_AUTH_JWKS_FILE cannot be read as a JWK set of public keys.") from None
