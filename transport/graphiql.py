"""The explorer page that development serves at `GET /graphql`, and its assets."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Final

from aiohttp import web

FALLBACK: Final = Path(__file__).resolve().parents[1] / "graphiql" / "fallback"
CDN: Final = "https://unpkg.com"

MEDIA_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".ttf": "font/ttf",
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom the page offers to be: `about` is a few words on what is particular about them."""

    name: str
    id: str
    token: str
    about: str


@dataclass(frozen=True, slots=True)
class CdnFile:
    """A file of an npm package as the CDN serves it; `sha384` is of that very file, in Base64."""

    path: str
    sha384: str

    @property
    def attributes(self) -> str:
        """Give the attributes that make a browser refuse any other content."""
        return f'integrity="sha384-{self.sha384}" crossorigin="anonymous"'


# The last GraphiQL and React that ship a file for a plain <script>. A hash comes from the package's own file:
# openssl dgst -sha384 -binary FILE | openssl base64 -A
CDN_STYLE: Final = CdnFile(
    "graphiql@4.1.2/graphiql.min.css", "1el1QShFBnnXTx9x/Cprg82hZWKt0ry29OAYIXt05swbi0KcZDFoj0CWguMpopJr"
)
CDN_SCRIPTS: Final = (
    CdnFile(
        "react@18.3.1/umd/react.production.min.js", "DGyLxAyjq0f9SPpVevD6IgztCFlnMF6oW/XQGmfe+IsZ8TqEiDrcHkMLKI6fiB/Z"
    ),
    CdnFile(
        "react-dom@18.3.1/umd/react-dom.production.min.js",
        "gTGxhz21lVGYNMcdJOyq01Edg0jhn/c22nsx0kyqP0TxaV5WVdsSH1fSDUf5YJj1",
    ),
    CdnFile(
        "graphql-ws@6.4.2/umd/graphql-ws.min.js", "mxvR4Mzbsb6QVx/9xI2gtQikQA6m8zMDBFnu3l//4/ROsWt7y2sUGWd+/tYQqDm7"
    ),
    CdnFile("graphiql@4.1.2/graphiql.min.js", "9XdHu7ajgGJziD4J1zNBKQ842Q/+zZfDv+ib1eMhZWBH6hPAs806x+Jbcf0yNO6B"),
)


@dataclass(frozen=True, slots=True)
class SignIn:
    """Where the page signs people in: the issuer, by which name it is known there, and what it asks for."""

    issuer: str
    client: str
    scope: str


@dataclass(frozen=True, slots=True)
class Build:
    """What `npm run build` made: the two files that the page names, and all that may be asked for."""

    script: str
    style: str
    files: frozenset[str]


class Explorer:
    """GraphiQL with a field for the access token, from our own origin; without a build, a page that says so.

    `people` is asked at every page, so that a reload brings fresh tokens. `dist` may be built after the start.
    """

    def __init__(
        self,
        dist: Path,
        *,
        people: Callable[[], Sequence[Person]],
        endpoint: str = "/graphql",
        sign_in: SignIn | None = None,
    ) -> None:
        self._dist = dist
        self._sign_in = sign_in
        self._people = people
        self._endpoint = endpoint
        self._fallback = {_hashed_name(path): path for path in sorted(FALLBACK.glob("explorer.*"))}

    def page(self) -> web.Response:
        """Render the page; it holds tokens, so nobody may store or frame it."""
        build, issuer = _read_build(self._dist), self._sign_in.issuer if self._sign_in is not None else ""
        head, body, cdn = self._without_build() if build is None else (*self._with_build(build), "")
        return web.Response(
            text=_PAGE.format(head=head, body=body, config=self._config()),
            content_type="text/html",
            charset="utf-8",
            headers={
                "Content-Security-Policy": _content_security_policy(cdn, issuer),
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
            },
        )

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """Serve `{name}` if it is one of the page's own files, for ever: its name has its content's hash."""
        path = self._find(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(
            path,
            headers={
                "Content-Type": MEDIA_TYPES[path.suffix],
                "Cache-Control": "public, max-age=31536000, immutable",
                "X-Content-Type-Options": "nosniff",
            },
        )

    def _find(self, name: str) -> Path | None:
        if name in self._fallback:
            return self._fallback[name]
        build = _read_build(self._dist)
        return self._dist / name if build and name in build.files else None

    def _config(self) -> str:
        identity = asdict(self._sign_in) if self._sign_in is not None else None
        people = [asdict(one) for one in self._people()]
        return embeddable_json({"endpoint": self._endpoint, "people": people, "identity": identity})

    def _with_build(self, build: Build) -> tuple[str, str]:
        head = f'<link rel="stylesheet" href="{self._address(build.style)}">'
        return head, f'<script type="module" src="{self._address(build.script)}"></script>'

    def _without_build(self) -> tuple[str, str, str]:
        script, style = (next(name for name in self._fallback if name.endswith(suffix)) for suffix in (".js", ".css"))
        head = (
            f'<link rel="stylesheet" href="{CDN}/{CDN_STYLE.path}" {CDN_STYLE.attributes}>\n'
            f'<link rel="stylesheet" href="{self._address(style)}">'
        )
        scripts = [f'<script defer src="{CDN}/{file.path}" {file.attributes}></script>' for file in CDN_SCRIPTS]
        return head, "\n".join([*scripts, f'<script defer src="{self._address(script)}"></script>']), CDN

    def _address(self, name: str) -> str:
        return escape(f"{self._endpoint}/assets/{name}")


def embeddable_json(value: object) -> str:
    """Write JSON that cannot end the `<script>` element around it, whatever its strings hold."""
    return json.dumps(value, ensure_ascii=True).translate(_ESCAPES)


_ESCAPES: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def _content_security_policy(cdn: str, issuer: str) -> str:
    # 'unsafe-inline' for styles: Monaco and CodeMirror lay out their lines with <style> and style="".
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {cdn}".rstrip(),
            f"style-src 'self' 'unsafe-inline' {cdn}".rstrip(),
            "img-src 'self' data:",
            "font-src 'self' data:",
            f"connect-src 'self' {issuer}".rstrip(),
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _read_build(dist: Path) -> Build | None:
    try:
        manifest = json.loads((dist / "manifest.json").read_bytes())
    except FileNotFoundError:
        return None
    return Build(manifest["script"], manifest["style"], frozenset(manifest["files"]))


def _hashed_name(path: Path) -> str:
    return f"fallback-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}{path.suffix}"


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Kith: GraphQL explorer</title>
<link rel="icon" href="data:,">
{head}
</head>
<body>
<div id="kith"><noscript>The explorer needs JavaScript. The API itself does not: POST to this address.</noscript></div>
<script type="application/json" id="kith-config">{config}</script>
{body}
</body>
</html>
"""
