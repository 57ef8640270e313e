"""A device that keeps passkeys, in software: what a browser would send, and what a forger might."""

import dataclasses
import hashlib
import json
import secrets
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import bytes_to_base64url

PRESENT: Final = 0x01
VERIFIED: Final = 0x04
_HAS_KEY: Final = 0x40


@dataclasses.dataclass(slots=True)
class Authenticator:
    """A device with one key, for one site."""

    origin: str
    rp_id: str
    key: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = dataclasses.field(default_factory=lambda: secrets.token_bytes(32))
    count: int = 0
    flags: int = PRESENT | VERIFIED
    counts: bool = True
    """Whether it counts its uses; those that several devices share do not."""

    def create(self, options: str) -> str:
        """Make the key known, as `navigator.credentials.create` would."""
        said = self._client_data("webauthn.create", options)
        numbers = self.key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        key = bytes(16) + len(self.credential_id).to_bytes(2) + self.credential_id + cbor2.dumps(public)
        attestation = {"fmt": "none", "attStmt": {}, "authData": self._data(_HAS_KEY) + key}
        return self._answer({"clientDataJSON": said, "attestationObject": cbor2.dumps(attestation)})

    def get(self, options: str) -> str:
        """Sign a challenge, as `navigator.credentials.get` would."""
        said, data = self._client_data("webauthn.get", options), self._data(0)
        signature = self.key.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(SHA256()))
        return self._answer({"clientDataJSON": said, "authenticatorData": data, "signature": signature})

    def _client_data(self, kind: str, options: str) -> bytes:
        said = {"type": kind, "challenge": json.loads(options)["challenge"], "origin": self.origin}
        return json.dumps(said).encode()

    def _data(self, more: int) -> bytes:
        self.count += self.counts
        host = hashlib.sha256(self.rp_id.encode()).digest()
        return host + bytes([self.flags | more]) + self.count.to_bytes(4)

    def _answer(self, response: dict[str, bytes]) -> str:
        name = bytes_to_base64url(self.credential_id)
        encoded: dict[str, Any] = {each: bytes_to_base64url(value) for each, value in response.items()}
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": encoded})
