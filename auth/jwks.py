"""Public keys that tokens are checked with: which keys of a JWK set are of any use, and for which algorithms."""

import dataclasses
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from auth.strict_json import read_object
from keys import private_file
from settings import Settings, SettingsError

ALGORITHM: Final = "ES256"
MIN_RSA_BITS: Final = 2048
MAX_KEYS: Final = 100
_FILE: Final = Path("auth") / "development.jwk.json"
_CURVES: Final[Mapping[tuple[object, object], frozenset[str]]] = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
}
_RSA: Final = frozenset({"PS256", "RS256"})
_PUBLIC: Final = ("kty", "crv", "x", "y", "n", "e")

PublicKey = ECKey | OKPKey | RSAKey


@dataclasses.dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and the algorithms that a token may name with it; equal where the key itself is the same."""

    thumbprint: str
    algorithms: frozenset[str]
    key: PublicKey = dataclasses.field(compare=False, repr=False)


class Keys(Protocol):
    """Where the keys of one issuer come from."""

    def find(self, kid: str) -> VerificationKey | None:
        """Give the key of this name, from memory."""

    async def refresh(self) -> None:
        """Look for keys that are not known yet, where there is anything to look at and it is time to."""


class FixedKeys:
    """Keys that were known at the start."""

    def __init__(self, keys: Mapping[str, VerificationKey]) -> None:
        self._keys = keys

    def find(self, kid: str) -> VerificationKey | None:
        """Give the key of this name."""
        return self._keys.get(kid)

    async def refresh(self) -> None:
        """Find nothing new."""


def development_key(settings: Settings) -> ECKey:
    """Give the private key that signs development tokens; raises SettingsError."""
    fresh = ECKey.generate_key("P-256", private=True, auto_kid=True)
    path = settings.data_dir / _FILE
    try:
        return ECKey.import_key(json.loads(private_file(path, json.dumps(fresh.as_dict(private=True)).encode())))
    except (OSError, ValueError, JoseError):
        raise SettingsError(f"{path} cannot be read as a key; remove it, and a new one is made.") from None


def development_keys(settings: Settings) -> FixedKeys:
    """Give the public half of the development key; raises SettingsError."""
    return FixedKeys(read_keys({"keys": [development_key(settings).as_dict(private=False)]}))


def keys_of_file(path: Path) -> FixedKeys:
    """Give the keys of a file; raises SettingsError where it is no JWK set with a key of use."""
    try:
        return FixedKeys(read_keys(read_object(path.read_bytes())))
    except (OSError, ValueError, RecursionError):
        raise SettingsError("KITH_AUTH_JWKS_FILE cannot be read as a JWK set of public keys.") from None


def read_keys(document: Mapping[str, Any]) -> dict[str, VerificationKey]:
    """Pick the keys of a JWK set that may sign tokens, by name; whatever else it holds is passed over.

    Raises:
        ValueError: there are none, or there are far too many.
    """
    listed = document.get("keys")
    if not isinstance(listed, Sequence) or isinstance(listed, str) or len(listed) > MAX_KEYS:
        raise ValueError("not a JWK set")
    found = list(_usable(listed))
    names = [kid for kid, _ in found]
    # Of two keys with one name nobody can say which is meant.
    keys = {kid: key for kid, key in found if names.count(kid) == 1}
    if not keys:
        raise ValueError("no key of use")
    return keys


def _usable(listed: Sequence[Any]) -> Iterator[tuple[str, VerificationKey]]:
    for entry in listed:
        if isinstance(entry, Mapping) and (key := _read_key(entry)) is not None:
            yield entry["kid"], key


def _read_key(entry: Mapping[str, Any]) -> VerificationKey | None:
    kid, algorithms = entry.get("kid"), _algorithms_of(entry)
    if not isinstance(kid, str) or not kid or not algorithms or not _may_verify(entry):
        return None
    try:
        key = _import({name: entry[name] for name in _PUBLIC if name in entry})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey) and key.raw_value.key_size < MIN_RSA_BITS:
        return None
    return VerificationKey(key.thumbprint(), algorithms, key)


def _import(public: dict[str, Any]) -> PublicKey:
    kinds: dict[object, type[ECKey] | type[OKPKey] | type[RSAKey]] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # of short keys, which are refused
        return kinds[public["kty"]].import_key(public)


def _algorithms_of(entry: Mapping[str, Any]) -> frozenset[str]:
    """Say what a key may be used with: what its form allows, and where it names an algorithm, that one alone."""
    kind, curve, named = entry.get("kty"), entry.get("crv"), entry.get("alg")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return frozenset()
    fitting = _RSA if kind == "RSA" else _CURVES.get((kind, curve), frozenset())
    return fitting if named is None else fitting & {named} if isinstance(named, str) else frozenset()


def _may_verify(entry: Mapping[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
