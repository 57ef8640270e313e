"""An authority that lives as long as a test, and what speaks TLS in front of a part that itself does not."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.proxies import lead_to, proxied

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""How a client of PostgreSQL asks for TLS; `S` says that it may begin."""


class Authority:
    """Makes certificates; its own is in `ca`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, folder.name)])
        self.ca = folder / "ca.pem"
        basic = x509.BasicConstraints(ca=True, path_length=0)
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = self._builder(self._name, self._key).add_extension(basic, critical=True)
        made = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.ca.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def certify(self, host: str) -> tuple[Path, Path]:
        """Make a certificate for a host; gives its file and that of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        alternative = x509.SubjectAlternativeName([x509.DNSName(host)])
        made = self._builder(name, key).add_extension(alternative, critical=False).sign(self._key, hashes.SHA256())
        cert, secret = self._folder / f"{host}.pem", self._folder / f"{host}.key"
        cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return cert, secret

    def server(self, host: str, *, asks_for_certificates: bool = False) -> ssl.SSLContext:
        """Give how a server of a host presents itself."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.load_cert_chain(*self.certify(host))
        context.verify_mode = ssl.CERT_REQUIRED if asks_for_certificates else ssl.CERT_NONE
        return context

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )


@contextlib.asynccontextmanager
async def terminating(context: ssl.SSLContext, part: str) -> AsyncIterator[int]:
    """Speak TLS on a port in front of a part, as PostgreSQL does it where that is what stands behind."""
    is_postgres = part.startswith("postgresql")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_postgres:
            assert await reader.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST, "nobody is spoken to openly"
            writer.write(b"S")
            await writer.start_tls(context)
        await lead_to(part, reader, writer)

    async with proxied(serve, None if is_postgres else context) as port:
        yield port
