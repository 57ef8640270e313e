"""How a client of the broker speaks to it: openly, or in TLS that verifies it."""

import ssl
from typing import Any

from tls import read_kafka


def client_options(address: str) -> dict[str, Any]:
    """Give what every client of the library takes, for brokers as `tls.verified_kafka` writes their addresses.

    Raises:
        OSError: a file of certificates cannot be read, or is none.
    """
    brokers, files = read_kafka(address)
    if files is None:
        return {"bootstrap_servers": brokers}
    context = ssl.create_default_context(cafile=files.ca)
    if files.cert is not None:
        context.load_cert_chain(files.cert, files.key)
    return {"bootstrap_servers": brokers, "security_protocol": "SSL", "ssl_context": context}
