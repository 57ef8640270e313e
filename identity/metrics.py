"""What is counted of the auth service. Labels are closed sets: never a name, an id or a text of a client."""

from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, generate_latest

ANSWERS: Final = Counter("kith_identity_answers_total", "Answers, by the class of their status.", ["status"])

PASSWORD_HASHES: Final = Counter("kith_identity_password_hashes_total", "Password hashes that were begun.")
PASSWORDS_REFUSED: Final = Counter(
    "kith_identity_passwords_refused_total", "Passwords that were not looked at, because too many others were waiting."
)
MAILS: Final = Counter("kith_identity_mails_total", "Mails, by kind and what became of them.", ["kind", "outcome"])
LIMITED: Final = Counter(
    "kith_identity_limited_total", "What was done too often, by class and what became of it.", ["operation", "outcome"]
)
GRANTS: Final = Counter(
    "kith_identity_grants_total", "Exchanges of codes and refresh tokens, by outcome.", ["kind", "outcome"]
)
REUSES: Final = Counter("kith_identity_reuses_total", "Codes and refresh tokens that came a second time.", ["what"])
DELIVERIES: Final = Counter(
    "kith_identity_deliveries_total", "Commands to the user service, by kind and outcome.", ["kind", "outcome"]
)
UNDELIVERED: Final = Gauge(
    "kith_identity_undelivered_seconds", "For how long the oldest command has waited for the user service.", ["queue"]
)
DEPARTURES: Final = Counter(
    "kith_identity_departures_total", "Facts about people who are gone or back, by what was done.", ["effect"]
)
ORPHANS: Final = Gauge(
    "kith_identity_orphans", "Accounts whose person the user service has never heard of, at the last look."
)
PEOPLE_ALONE: Final = Gauge(
    "kith_identity_people_without_account", "People who were made for a sign-up that has no account, at the last look."
)


async def serve_metrics(_request: web.Request) -> web.Response:
    """Answer `GET /metrics`."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
