"""What is counted of identity."""

from typing import Final

from prometheus_client import Counter

KEY_FETCHES: Final = Counter("kith_key_fetches_total", "Fetches of the issuer's public keys.", ["outcome"])
