"""Assets checks against a small site: each thing that can be wrong with a published release."""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from agui_operator.checks.guard import Guard
from agui_operator.checks.page import Loads, integrity_of, read_page
from agui_operator.checks.run import run_check

Serve = Callable[[web.Application], Awaitable[str]]
Make = Callable[..., Any]
JS, CSS, LAZY = b"console.log('canary')", b"body{color:red}", b"export const canary = 1"
IMMUTABLE = "public, max-age=31536000, immutable"
FOLDER = "/releases/f1"


def sri(data: bytes, algorithm: str = "sha384") -> str:
    return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


PAGE = f"""<!doctype html><html><head><meta charset="utf-8"><meta name="agui-runtime-url" content="/copilotkit">
<script type="module" crossorigin src="/assets/app-1.js" integrity="{sri(JS)}"></script>
<link rel="modulepreload" href="/assets/lazy-1.js" integrity="{sri(LAZY)}">
<link rel="stylesheet" href="/assets/app-1.css" integrity="{sri(CSS)}">
<link rel="icon" href="/favicon.ico"><script>inline()</script></head><body></body></html>"""


@dataclass
class File:
    body: bytes
    type: str
    cache: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Site:
    """What the edge serves. Tests change one thing each."""

    def __init__(self) -> None:
        self.files = {
            f"{FOLDER}/index.html": File(PAGE.encode(), "text/html; charset=utf-8", "no-cache, max-age=0"),
            "/": File(PAGE.encode(), "text/html", "no-cache"),
            f"{FOLDER}/manifest.json": File(b'{"runtimeUrl": "/copilotkit"}', "application/json", "no-cache"),
            "/assets/app-1.js": File(JS, "text/javascript", IMMUTABLE),
            "/assets/lazy-1.js": File(LAZY, "text/javascript; charset=utf-8", IMMUTABLE),
            "/assets/app-1.css": File(CSS, "text/css", IMMUTABLE),
        }
        self.asked: list[str] = []

    def page(self, old: str, new: str) -> None:
        for path in (f"{FOLDER}/index.html", "/"):
            body = self.files[path].body.decode()
            assert old in body
            self.files[path].body = body.replace(old, new).encode()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{any:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        found = self.files.get(request.path)
        if found is None:
            return web.Response(status=404, text="canary")
        headers = {"Content-Type": found.type, "Cache-Control": found.cache, **found.headers}
        return web.Response(body=found.body, status=found.status, headers=headers)


@pytest.fixture
def check(serve: Serve, guard: Guard, smoke: Make, target_of: Make) -> Make:
    async def run(site: Site, spec: dict[str, Any] | None = None, **target: Any) -> Any:
        where = target_of(await serve(site.app()), **{"frontend": "f1", "runtime_url": "/copilotkit", **target})
        return await run_check(smoke({"assets": spec or {}}), where, guard)

    return run


@pytest.mark.parametrize("public", [False, True])
async def test_green(check: Make, public: bool) -> None:
    site = Site()
    result = await check(site, public=public)
    assert (result.passed, result.message) == (True, "the page and its 3 files are as published")
    assert result.latency_ms is not None
    assert ("/" in site.asked) is public
    assert {"/assets/app-1.js", "/assets/lazy-1.js", "/assets/app-1.css"} <= set(site.asked)


async def test_green_variants(check: Make) -> None:
    site = Site()
    site.page('name="agui-runtime-url"', 'name="other"')
    assert (await check(site)).passed is True, "the runtime URL of the manifest counts too"
    strong = Site()
    strong.page(sri(JS), f"{sri(b'other')} {sri(JS, 'sha512')}")
    assert (await check(strong)).passed is True, "the strongest digest decides, as in a browser"
    relative = Site()
    relative.page('src="/assets/app-1.js"', 'src="../../assets/app-1.js"')
    assert (await check(relative)).passed is True
    indifferent = Site()
    indifferent.page('content="/copilotkit"', 'content="/other"')
    assert (await check(indifferent, {"runtimeUrl": False})).passed is True


def change(path: str, **fields: Any) -> Callable[[Site], None]:
    def apply(site: Site) -> None:
        for name, value in fields.items():
            setattr(site.files[path], name, value)

    return apply


def edit(old: str, new: str) -> Callable[[Site], None]:
    return lambda site: site.page(old, new)


RED: list[Any] = [
    pytest.param(
        change("/assets/app-1.js", body=JS + b" "),
        "expected the bytes that the integrity of script /assets/app-1.js promises; others",
        id="changed-byte",
    ),
    pytest.param(
        change("/assets/app-1.js", status=404),
        "expected script /assets/app-1.js; the server answered 404",
        id="missing-file",
    ),
    pytest.param(
        change("/assets/app-1.js", status=302, headers={"Location": "/"}),
        "expected script /assets/app-1.js; the server answered 302",
        id="redirected",
    ),
    pytest.param(
        change("/assets/app-1.css", type="text/plain"),
        "expected stylesheet /assets/app-1.css with its own content type",
        id="css-as-text",
    ),
    pytest.param(
        change("/assets/lazy-1.js", type="text/html"),
        "expected module preload /assets/lazy-1.js with its own content type",
        id="js-as-html",
    ),
    pytest.param(
        change("/assets/app-1.js", cache="public, max-age=3600"),
        "expected cache-control immutable on script /assets/app-1.js",
        id="not-immutable",
    ),
    pytest.param(
        change("/assets/app-1.js", headers={"Content-Encoding": "br"}),
        "expected script /assets/app-1.js without content-encoding",
        id="encoded",
    ),
    pytest.param(
        change(f"{FOLDER}/index.html", cache="public, max-age=60"),
        "expected cache-control no-cache at /releases/f1/index.html",
        id="cached-page",
    ),
    pytest.param(change(f"{FOLDER}/index.html", cache=""), "expected cache-control no-cache at", id="no-cache-header"),
    pytest.param(
        change(f"{FOLDER}/index.html", type="application/octet-stream"),
        "expected text/html at /releases/f1/index.html",
        id="page-type",
    ),
    pytest.param(
        change(f"{FOLDER}/index.html", status=404),
        "expected the page at /releases/f1/index.html; the server answered 404",
        id="no-page",
    ),
    pytest.param(
        change(f"{FOLDER}/index.html", body=b"x" * 300_000), "expected a page of at most 256 kB", id="huge-page"
    ),
    pytest.param(
        change(f"{FOLDER}/index.html", body=b"<p>canary"),
        "expected a page that loads a script or stylesheet",
        id="empty-page",
    ),
    pytest.param(
        edit(f' integrity="{sri(JS)}"', ""),
        "expected integrity of at least sha384 on script /assets/app-1.js",
        id="no-integrity",
    ),
    pytest.param(
        edit(sri(JS), sri(JS, "sha256")), "expected integrity of at least sha384 on script", id="weak-integrity"
    ),
    pytest.param(
        edit(sri(CSS), "sha384-!!!"), "expected integrity of at least sha384 on stylesheet", id="broken-integrity"
    ),
    pytest.param(
        edit('src="/assets/app-1.js"', 'src="https://cdn.example/canary.js"'),
        "expected every script from the page's own origin",
        id="other-origin",
    ),
    pytest.param(
        edit('src="/assets/app-1.js"', 'src="//127.0.0.2/canary.js"'),
        "expected every script from the page's own origin",
        id="other-host",
    ),
    pytest.param(
        edit('src="/assets/app-1.js"', 'src="data:text/javascript,canary"'),
        "expected every script from the page's own origin",
        id="data-url",
    ),
    pytest.param(
        edit('src="/assets/app-1.js"', 'src="/assets/%0d%0acanary"'),
        "refused: the path has an encoded control character",
        id="crlf-in-path",
    ),
    pytest.param(
        edit("<meta charset", '<base href="//127.0.0.2/"><meta charset'), "expected a page without <base>", id="base"
    ),
    pytest.param(
        edit('content="/copilotkit"', 'content="https://canary.example"'),
        "expected the runtime URL of this environment; the page has another",
        id="other-environment",
    ),
    pytest.param(
        edit("</head>", "<script src=/assets/app-1.js></script>" * 200 + "</head>"),
        "expected at most 128 files; the page loads 203",
        id="too-many",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), RED)
async def test_red(check: Make, spoil: Callable[[Site], None], message: str) -> None:
    site = Site()
    spoil(site)
    result = await check(site)
    assert result.passed is False
    assert result.message.startswith(message), result.message
    assert "canary" not in result.message


async def test_red_after_promotion_if_another_release_is_shown(check: Make) -> None:
    site = Site()
    site.files["/"].body += b"<!-- the release before -->"
    result = await check(site, public=True)
    assert result.message == "expected release folder f1 at /; another page is served"
    assert (await check(site, public=False)).passed is True


async def test_red_without_a_runtime_url(check: Make) -> None:
    site = Site()
    site.page('name="agui-runtime-url"', 'name="other"')
    wrong = {
        b'{"runtimeUrl": "//canary"}': "expected the runtime URL of this environment; manifest.json has another",
        b"canary": "expected the runtime URL in the page or manifest.json; it is in neither",
        json.dumps(["runtimeUrl"]).encode(): "expected the runtime URL in the page or manifest.json; it is in neither",
    }
    for body, message in wrong.items():
        site.files[f"{FOLDER}/manifest.json"].body = body
        result = await check(site)
        assert result.passed is False
        assert result.message.startswith(message)
    del site.files[f"{FOLDER}/manifest.json"]
    assert "it is in neither" in (await check(site)).message


async def test_red_without_a_frontend(check: Make) -> None:
    result = await check(Site(), frontend=None)
    assert result.message == "expected a frontend; the release has none"


@pytest.mark.parametrize(
    ("html", "references"),
    [
        (b"<SCRIPT SRC='/a.js'>", [(Loads.SCRIPT, "/a.js")]),
        (b"<script src='a.js'>", [(Loads.SCRIPT, "/dir/a.js")]),
        (b"<script src='/a.js?v=1#x'>", [(Loads.SCRIPT, "/a.js?v=1")]),
        (b"<link REL='Preload StyleSheet' href=/a.css>", [(Loads.STYLESHEET, "/a.css")]),
        (b"<link rel=icon href=/i.png><link rel=stylesheet><script>src='/x'</script>", []),
        (b"<!-- <script src=/a.js></script> -->", []),
        (b"<script src='\\\\evil/x.js'>", [(Loads.SCRIPT, "/dir/\\\\evil/x.js")]),
        (b"<script src='http://[bad'>", [(Loads.SCRIPT, None)]),
        (b"\xff\xfe<script src=/a.js>", [(Loads.SCRIPT, "/a.js")]),
    ],
)
def test_references_are_read_as_a_browser_would(html: bytes, references: list[tuple[Loads, str | None]]) -> None:
    assert [(r.loads, r.path) for r in read_page(html, "/dir/index.html").references] == references


@pytest.mark.parametrize(
    ("attribute", "algorithm", "count"),
    [
        ("sha256-AAAA sha512-AAAA sha512-BBBB", "sha512", 2),
        ("sha384-AAAA?opt", "sha384", 1),
        ("md5-AAAA sha1-AAAA", None, 0),
        ("sha384-***", None, 0),
        ("", None, 0),
    ],
)
def test_the_strongest_integrity_counts(attribute: str, algorithm: str | None, count: int) -> None:
    found = integrity_of(attribute)
    assert (found[0] if found else None, len(found[1]) if found else 0) == (algorithm, count)
