"""Development tokens: `python -m auth.token NAME` prints one for the person of that name."""

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import ECKey

from auth.issuers import DEVELOPMENT_LIFE_S, issues_development_tokens
from auth.jwks import ALGORITHM, development_key
from domain.ids import NodeType, OpaqueIds
from domain.usernames import username_key
from embedded.configured import find_addresses
from keys import load_keys
from settings import Settings, load_or_exit
from storage.cells import open_cells
from storage.database import Database
from storage.users import fetch_ids_by_name


def issue_token(key: ECKey, settings: Settings, subject: str) -> str:
    """Sign an access token for the person with this opaque id."""
    now = int(time.time())
    claims = {
        "iss": settings.auth_issuer,
        "aud": settings.auth_audience,
        "sub": subject,
        "iat": now,
        "auth_time": now,
        "nbf": now,
        "exp": now + DEVELOPMENT_LIFE_S,
        "jti": secrets.token_hex(16),
    }
    return jwt.encode({"alg": ALGORITHM, "typ": "at+jwt", "kid": key.kid}, claims, key)


def write_tokens(path: Path, tokens: Mapping[str, str]) -> None:
    """Write the tokens of several people, by name, readable by the owner only and whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(dict(tokens), file, indent=2)
        file.write("\n")
    fresh.replace(path)


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m auth.token", description="Print a development access token.")
    parser.add_argument("name", help="a username, such as ana")
    name = parser.parse_args().name
    settings = load_or_exit()
    if not issues_development_tokens(settings):
        sys.stderr.write("kith: tokens are issued by your own provider (KITH_AUTH_ISSUER).\n")
        return 2
    ids = OpaqueIds(load_keys(settings).opaque_ids)
    async with open_cells(find_addresses(settings).postgres_dsns) as shards:
        key = username_key(name) or ""
        found = await fetch_ids_by_name(Database(shards, ids), [key])
    if key not in found:
        sys.stderr.write(f"kith: nobody is named {name!r}.\n")
        return 1
    subject = ids.encode(NodeType.USER, found[key])
    sys.stdout.write(issue_token(development_key(settings), settings, subject) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(_main()))
