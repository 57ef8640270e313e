"""A key management service in a process of its own, which speaks as Vault's transit engine does, and keeps its keys.

`python -m tests.key_service FOLDER` writes the address to `FOLDER/address` and takes the token that stands in
`FOLDER/token`; a key may be turned, and nobody may have it.
"""

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Engine:
    """The keys, by version from 1."""

    def __init__(self, token_file: Path) -> None:
        self._token_file = token_file
        self._versions = [AESGCM(AESGCM.generate_key(256))]

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/transit/keys/kith", self.read)
        router.add_post("/v1/transit/keys/kith/rotate", self.rotate)
        router.add_post("/v1/transit/encrypt/kith", self.encrypt)
        router.add_post("/v1/transit/decrypt/kith", self.decrypt)

    def admit(self, request: web.Request) -> None:
        if request.headers.get("X-Vault-Token") != self._token_file.read_text().strip():
            raise web.HTTPForbidden(text='{"errors": ["permission denied"]}', content_type="application/json")

    async def read(self, request: web.Request) -> web.Response:
        self.admit(request)
        return answer(name="kith", type="aes256-gcm96", exportable=False, latest_version=len(self._versions))

    async def rotate(self, request: web.Request) -> web.Response:
        self.admit(request)
        self._versions.append(AESGCM(AESGCM.generate_key(256)))
        return web.Response(status=204)

    async def encrypt(self, request: web.Request) -> web.Response:
        self.admit(request)
        body, nonce = await request.json(), os.urandom(12)
        sealed = self._versions[-1].encrypt(nonce, decoded(body, "plaintext"), decoded(body, "associated_data"))
        version, text = len(self._versions), base64.b64encode(nonce + sealed).decode()
        return answer(ciphertext=f"vault:v{version}:{text}", key_version=version)

    async def decrypt(self, request: web.Request) -> web.Response:
        self.admit(request)
        body = await request.json()
        _, version, text = body["ciphertext"].split(":")
        sealed = base64.b64decode(text)
        try:
            key = self._versions[int(version[1:]) - 1]
            plain = key.decrypt(sealed[:12], sealed[12:], decoded(body, "associated_data"))
        except (InvalidTag, IndexError):
            refusal = '{"errors": ["cipher: message authentication failed"]}'
            raise web.HTTPBadRequest(text=refusal, content_type="application/json") from None
        return answer(plaintext=base64.b64encode(plain).decode())


def answer(**data: object) -> web.Response:
    return web.json_response({"data": data})


def decoded(body: dict[str, Any], name: str) -> bytes:
    return base64.b64decode(body.get(name, ""))


async def main(folder: Path) -> None:
    app = web.Application()
    Engine(folder / "token").add_to(app.router)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    fresh = folder / "address.fresh"
    fresh.write_text(f"http://{host}:{port}/v1/transit")
    fresh.replace(folder / "address")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
