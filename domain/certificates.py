"""Certificates of erasure: what was erased of a person, where, when, and who confirmed it, signed."""

import base64
import binascii
import datetime as dt
import uuid
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.errors import KithError

_DETERMINISTIC: Final = msgspec.json.Encoder(order="deterministic")


class ErasedStore(msgspec.Struct, frozen=True, rename="camel"):
    """One store: what was done there, and how many rows or keys that took away.

    The number is of those steps that came to their end: what a step had done that was killed is not counted twice.
    """

    store: str
    statement: str
    rows: int


class Certificate(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Says that nothing of a person is left: every store was looked through once more before this was written."""

    version: int = 1
    id: uuid.UUID
    user_id: str
    deleted_at: dt.datetime
    began_at: dt.datetime
    purged_at: dt.datetime
    certified_at: dt.datetime
    stores: tuple[ErasedStore, ...]
    acknowledged_by: tuple[str, ...]


class _Signed(msgspec.Struct, frozen=True, rename="camel"):
    """A certificate with the signature over its canonical JSON: keys in order, no spaces."""

    certificate: Certificate
    algorithm: str
    signature: str


class NotGenuine(KithError):
    """This is no certificate that was signed under this key."""


class CertificateSigner:
    """Signs and checks certificates (Ed25519, RFC 8032)."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public_key(self) -> str:
        """Give the key with which anybody can check, in base64."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, certificate: Certificate) -> str:
        """Write a certificate as a JSON document with its signature."""
        signature = base64.b64encode(self._key.sign(_DETERMINISTIC.encode(certificate))).decode()
        return msgspec.json.format(msgspec.json.encode(_Signed(certificate, "Ed25519", signature)), indent=2).decode()

    def read(self, document: str | bytes) -> Certificate:
        """Check a document; raises NotGenuine."""
        return read_certificate(document, self._key.public_key())


def read_certificate(document: str | bytes, key: Ed25519PublicKey) -> Certificate:
    """Check a document against a public key.

    Raises:
        NotGenuine: something in it is not as it was signed.
    """
    try:
        signed = msgspec.json.decode(document, type=_Signed)
        signature = base64.b64decode(signed.signature, validate=True)
        key.verify(signature, _DETERMINISTIC.encode(signed.certificate))
    except (msgspec.MsgspecError, binascii.Error, InvalidSignature, ValueError) as error:
        raise NotGenuine from error
    return signed.certificate
