import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from yarl import URL

from transport.graphiql import CDN, Explorer, Person, SignIn, embeddable_json

ANA = Person("ana", "VXNlcjox", "token-of-ana", "follows everybody")
HOSTILE = Person("</script><script>alert(1)</script>", "VXNlcjoy", "a&b\u2028c\u2029", "<!--")
SCRIPT = "explorer-ABC123.js"
STYLE = "explorer-DEF456.css"


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    folder.mkdir()
    (tmp_path / "secret.js").write_text("secret")
    (folder / SCRIPT).write_text("console.log(1)")
    (folder / STYLE).write_text("body{}")
    (folder / "THIRD_PARTY.txt").write_text("notices")
    manifest = {"script": SCRIPT, "style": STYLE, "files": [SCRIPT, STYLE]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def explorer(dist: Path, *people: Person) -> Explorer:
    return Explorer(dist, people=lambda: people or (ANA,))


def html(page: web.Response) -> str:
    assert page.text is not None
    return page.text


def embedded_config(page: web.Response) -> str:
    found = re.search(r'<script type="application/json" id="kith-config">(.*?)</script>', html(page), re.DOTALL)
    assert found is not None
    return found[1]


def directives(page: web.Response) -> dict[str, str]:
    parts = (part.partition(" ") for part in page.headers["Content-Security-Policy"].split("; "))
    return {name: value for name, _, value in parts}


@pytest.fixture
async def assets(dist: Path) -> AsyncIterator[URL]:
    app = web.Application()
    app.router.add_get("/graphql/assets/{name}", explorer(dist).asset)
    async with TestServer(app) as server:
        yield server.make_url("/graphql/assets/")


def test_the_page_names_its_own_assets_only(dist: Path) -> None:
    page = explorer(dist).page()
    assert page.content_type == "text/html"
    assert f'src="/graphql/assets/{SCRIPT}"' in html(page)
    assert f'href="/graphql/assets/{STYLE}"' in html(page)
    assert "://" not in html(page)


def test_the_config_carries_people_and_endpoint(dist: Path) -> None:
    sign_in = SignIn("https://auth.example", "graphiql", "openid kith:read")
    page = Explorer(dist, people=lambda: [ANA], endpoint="/api", sign_in=sign_in).page()
    person = {"name": "ana", "id": "VXNlcjox", "token": "token-of-ana", "about": "follows everybody"}
    identity = {"issuer": "https://auth.example", "client": "graphiql", "scope": "openid kith:read"}
    assert json.loads(embedded_config(page)) == {"endpoint": "/api", "people": [person], "identity": identity}
    assert directives(page)["connect-src"] == "'self' https://auth.example"
    assert f'src="/api/assets/{SCRIPT}"' in html(page)


def test_people_are_asked_at_every_page(dist: Path) -> None:
    people = [ANA]
    subject = Explorer(dist, people=lambda: people)
    subject.page()
    people.append(Person("bo", "VXNlcjoz", "token-of-bo", ""))
    assert "token-of-bo" in html(subject.page())


def test_no_string_in_the_config_can_end_its_element(dist: Path) -> None:
    text = embedded_config(explorer(dist, HOSTILE).page())
    assert not set("<>&\u2028\u2029") & set(text)
    person = json.loads(text)["people"][0]
    assert (person["name"], person["token"], person["about"]) == (HOSTILE.name, HOSTILE.token, HOSTILE.about)


def test_embeddable_json_is_ascii_and_reads_back() -> None:
    value = {"<&>": "é\u2028🙂{}"}
    assert embeddable_json(value).isascii()
    assert json.loads(embeddable_json(value)) == value


def test_the_page_allows_nothing_from_elsewhere(dist: Path) -> None:
    page = explorer(dist).page()
    assert directives(page) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_no_script_is_inline(dist: Path, tmp_path: Path) -> None:
    for page in (explorer(dist).page(), explorer(tmp_path / "none").page()):
        for attributes in re.findall(r"<script([^>]*)>", html(page)):
            assert "src=" in attributes or 'type="application/json"' in attributes


@pytest.mark.parametrize(("name", "media_type"), [(SCRIPT, "text/javascript"), (STYLE, "text/css")])
async def test_an_asset_may_be_kept_for_ever(assets: URL, name: str, media_type: str) -> None:
    async with ClientSession() as session, session.get(assets / name) as answer:
        assert answer.status == 200
        assert answer.content_type == media_type
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    ["other.js", "manifest.json", "THIRD_PARTY.txt", "..%2Fsecret.js", "%2e%2e%2fsecret.js", "..%5Csecret.js", "%00"],
)
async def test_what_the_manifest_does_not_name_is_not_found(assets: URL, name: str) -> None:
    address = URL(f"{assets}{name}", encoded=True)
    async with ClientSession() as session, session.get(address) as answer:
        assert answer.status == 404


def test_without_a_build_the_page_comes_from_the_cdn_by_hash(tmp_path: Path) -> None:
    page = explorer(tmp_path / "none").page()
    tags = re.findall(rf'<(?:script|link)[^>]*"{CDN}/[^>]*>', html(page))
    assert len(tags) == 5
    assert all(re.search(r'integrity="sha384-[\w+/]{64}" crossorigin="anonymous"', tag) for tag in tags)
    assert directives(page)["script-src"] == f"'self' {CDN}"
    assert directives(page)["connect-src"] == "'self'"
    assert "token-of-ana" in embedded_config(page)


async def test_without_a_build_the_fallback_says_why_and_is_served(tmp_path: Path) -> None:
    subject = explorer(tmp_path / "none")
    app = web.Application()
    app.router.add_get("/graphql/assets/{name}", subject.asset)
    found = re.search(r'src="(/graphql/assets/fallback-\w+\.js)"', html(subject.page()))
    assert found is not None
    async with TestServer(app) as server, ClientSession() as session, session.get(server.make_url(found[1])) as answer:
        assert answer.status == 200
        assert "Install Node 18+" in await answer.text()


def test_a_build_made_after_the_start_is_taken_up(dist: Path) -> None:
    manifest = (dist / "manifest.json").read_text()
    (dist / "manifest.json").unlink()
    subject = explorer(dist)
    assert CDN in html(subject.page())
    (dist / "manifest.json").write_text(manifest)
    assert CDN not in html(subject.page())
