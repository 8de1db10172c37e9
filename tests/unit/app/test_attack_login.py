"""Strangers at every route, with each method and kind of login; and pages of other sites in a user's browser."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from agui_app.access import read_access
from agui_app.environment import SettingsError
from agui_app.http import application
from agui_app.http.application import create_app
from agui_app.http.crosssite import SECURITY_HEADERS, cross_site, names_this_machine
from agui_app.http.gate import PUBLIC
from agui_app.http.identity import Callers
from agui_app.settings import read_settings

DATABASE = {"DATABASE_URL": "postgresql://h/n"}
LOGINS = {
    "oidc": DATABASE
    | {"AGUI_IDENTITY": "oidc", "AGUI_IDENTITY_AUDIENCE": "shop", "AGUI_IDENTITY_ISSUER": "https://issuer.example"},
    "iap": DATABASE | {"AGUI_IDENTITY": "iap", "AGUI_IDENTITY_AUDIENCE": "/projects/1/x"},
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
NO_TOKENS: dict[str, dict[str, str]] = {
    "nothing": {},
    "a name": {"x-agui-user": "root", "x-agui-customer": "acme-hotels"},
    "a check's label": {"x-agui-synthetic": "smoke"},
    "a check's token, where no check may log in": {"x-agui-check-authorization": "Bearer a.b.c"},
    "an unsigned token": {"authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
    "an unsigned header of IAP": {"x-goog-iap-jwt-assertion": "eyJhbGciOiJub25lIn0.e30."},
    "IAP's plain headers": {"x-goog-authenticated-user-email": "accounts.google.com:ann@example.com"},
}


class Extension:
    """What a careless extension adds: a route, one of Starlette, a mounted application, a socket."""

    @staticmethod
    def extend(app: FastAPI) -> None:
        async def leak(_: Any) -> PlainTextResponse:
            return PlainTextResponse("secret")

        async def socket(websocket: Any) -> None:
            await websocket.accept()
            await websocket.send_text("secret")

        app.get("/api/added")(lambda: "secret")
        app.routes.append(Route("/plain", leak))
        app.routes.append(Mount("/mounted", app=FastAPI()))
        app.routes.append(WebSocketRoute("/ws-added", socket))


def app_of(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The application with the extension; what stands behind the gate has no database."""
    monkeypatch.setattr(application, "load_extensions", lambda _: [Extension])
    settings = read_settings(env)
    app = create_app(settings)
    nobody = httpx.MockTransport(lambda _: httpx.Response(200, json={"keys": [], "jwks_uri": "https://i.example/k"}))
    app.state.services = SimpleNamespace(callers=Callers(settings.access, nobody), settings=settings)
    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://localhost"
    )


async def opened(app: FastAPI, path: str, headers: dict[str, str], protocols: tuple[str, ...] = ()) -> tuple[str, int]:
    """Opens a socket: the code of its first frame, and the code with which it is closed."""
    raw = [(name.encode(), value.encode()) for name, value in ({"host": "localhost"} | headers).items()]
    scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": raw}
    scope |= {"subprotocols": list(protocols), "scheme": "ws", "root_path": "", "client": None, "server": None}
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    return json.loads(sent[1]["text"])["code"], sent[2]["code"]


def flat(routes: Any, prefix: str = "") -> list[tuple[str, bool]]:
    """(path, whether it is a socket) of all routes, with those of included and mounted applications."""
    found: list[tuple[str, bool]] = []
    for route in routes:
        path = prefix + str(getattr(route, "path", ""))
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if inner:
            found += flat(inner, path)
        if getattr(route, "path", None) is not None:
            found.append((path, "WebSocket" in type(route).__name__))
    return found


def filled(path: str) -> str:
    return path.replace("{order_id}", "1").replace("{agent_id}", "default").replace("{thread_id}", "t") or "/"


@pytest.mark.parametrize("login", LOGINS)
async def test_no_route_answers_a_stranger(login, monkeypatch):
    app = app_of(LOGINS[login], monkeypatch)
    client = client_of(app)
    paths = sorted({filled(path) for path, is_socket in flat(app.routes) if not is_socket})
    known = {"/agent", "/api/orders/1", "/api/added", "/plain", "/mounted/docs", "/openapi.json", "/copilotkit/threads"}
    assert known <= set(paths), "the sweep does not see all routes"
    more = ["/docs", "/redoc", "/nowhere", "/healthz/", "//healthz", "/HEALTHZ", "/version/x", "/api/../agent"]
    for path in [*paths, *more]:
        for method in METHODS:
            for name, headers in NO_TOKENS.items():
                answer = await client.request(method, path, headers=headers, json={} if method == "POST" else None)
                if path in PUBLIC and method in ("GET", "HEAD"):
                    assert answer.status_code != 401
                    break
                assert answer.status_code == 401, f"{method} {path} with {name}: {answer.status_code}"
                assert "secret" not in answer.text


@pytest.mark.parametrize("login", LOGINS)
async def test_no_socket_opens_for_a_stranger(login, monkeypatch):
    app = app_of(LOGINS[login], monkeypatch)
    sockets = sorted({filled(path) for path, is_socket in flat(app.routes) if is_socket})
    assert sockets == ["/ws-added", "/ws/t"]
    for path in [*sockets, "/agent", "/nowhere", "/healthz"]:
        for headers in NO_TOKENS.values():
            for protocols in ((), ("agui", "bearer.x.y.z")):
                assert await opened(app, path, headers, protocols) == ("unauthenticated", 1008)


def test_the_public_list_is_short_and_documented():
    assert {"/healthz", "/health", "/readyz", "/version"} == PUBLIC


ALLOWED = ("https://app.example",)
HOST = {"host": "shop.example"}
JSON = {"content-type": "application/json", "content-length": "2"}
FROM_ELSEWHERE: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "https://shop.example.evil.example"},
    {"origin": "https://shop.example:8443"},
    {"origin": "https://shop.example@evil.example"},
    {"origin": "file://"},
    {"origin": "chrome-extension://abcdef"},
    {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    {"origin": "https://app.example.evil.example"},
    {"origin": "http://app.example"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    {"sec-fetch-site": "whatever"},
]
FORMS = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonx"]


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
def test_a_page_of_another_site_changes_nothing(method, headers):
    assert cross_site(method, HOST | JSON | headers, ALLOWED).status == 403


@pytest.mark.parametrize("headers", [h for h in FROM_ELSEWHERE if "sec-fetch-dest" not in h], ids=str)
def test_nor_does_it_read_anything(headers):
    assert cross_site("GET", HOST | headers, ALLOWED).status == 403


@pytest.mark.parametrize("dest", ["iframe", "frame", "embed", "object", "empty", "script", "image"])
def test_nor_is_anything_framed_or_embedded(dest):
    fetched = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": dest}
    assert cross_site("GET", HOST | fetched, ()).status == 403


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("length", [{"content-length": "9"}, {"transfer-encoding": "chunked"}])
def test_a_form_is_no_request(kind, length):
    """A body without a type can be sent across sites without a question to the server, so it counts as a form."""
    assert cross_site("POST", HOST | length | {"content-type": kind}, ()).status == 415


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", JSON),
        ("POST", JSON | {"content-type": "Application/JSON; charset=utf-8"}),
        ("POST", JSON | {"origin": "https://shop.example", "sec-fetch-site": "same-origin"}),
        ("POST", JSON | {"origin": "https://shop.example:443"}),
        ("POST", JSON | {"origin": "https://app.example", "sec-fetch-site": "cross-site"}),
        ("POST", JSON | {"origin": "https://front.example", "x-forwarded-host": "front.example"}),
        ("POST", {"content-length": "0"}),
        ("POST", {}),
        ("GET", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}),
        ("GET", {}),
    ],
)
def test_the_own_page_and_other_clients_pass(method, headers):
    assert cross_site(method, HOST | headers, ALLOWED) is None


async def test_in_development_forms_sockets_and_rebinding_are_refused(monkeypatch):
    app = app_of(DATABASE, monkeypatch)
    client = client_of(app)
    form = {"content-type": "text/plain", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert (await client.post("/agent", content="{}", headers=form)).status_code == 403
    assert (
        await client.post("/copilotkit/agent/default/stop/t", headers={"origin": "https://evil.example"})
    ).status_code == 403
    assert (await client.post("/agent", content="{}", headers={"content-type": "text/plain"})).status_code == 415
    assert (await client.post("/agent", content="{}")).status_code == 415
    assert await opened(app, "/ws/t", {"origin": "https://evil.example"}) == ("forbidden_origin", 1008)
    for host in (
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
    ):
        assert (await client.get("/api/added", headers={"host": host})).status_code == 421, host
        assert await opened(app, "/ws/t", {"host": host}) == ("misdirected_request", 1008)
    assert (await client.get("/api/added")).text == '"secret"'


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "shop.localhost:80", "127.0.0.1:9", "[::1]:9", "[::1]"])
def test_names_of_this_machine(host):
    assert names_this_machine(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.x", "127.0.0.1.x", "xlocalhost", "[::2]", "[::1].x", "127.1", "0.0.0.0"]
)
def test_other_names(host):
    assert not names_this_machine(host)


async def test_every_answer_forbids_framing_and_sniffing(monkeypatch):
    client = client_of(app_of(LOGINS["oidc"], monkeypatch))
    development = client_of(app_of(DATABASE, monkeypatch))
    answers = [
        await client.get("/health"),
        await client.get("/agent"),
        await client.post("/agent"),
        await development.get("/nowhere"),
    ]
    answers += [
        await development.get("/api/added"),
        await development.get("/agent"),
        await development.get("/x", headers={"host": "x"}),
    ]
    assert [a.status_code for a in answers] == [200, 401, 401, 404, 200, 405, 421]
    for answer in answers:
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert all(answer.headers["cache-control"] == "no-store" for answer in answers[1:])


LOOPBACK = {"HOST": "127.0.0.1"}
DEVELOPMENT = {"AGUI_IDENTITY": "development"}


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (LOOPBACK | {"K_SERVICE": "s", "AGUI_IDENTITY": "development"}, "does not start on Cloud Run"),
        ({"K_SERVICE": "s", "AGUI_IDENTITY": "development"}, "does not start on Cloud Run"),
        ({"K_SERVICE": "s"}, "AGUI_IDENTITY must be set on Cloud Run: iap or oidc"),
        ({"HOST": "0.0.0.0", "AGUI_IDENTITY": "development"}, "listens on this machine only; HOST is '0.0.0.0'"),
        ({"HOST": "0.0.0.0"}, "listens on this machine only"),
        ({"HOST": "::"}, "listens on this machine only"),
        ({"HOST": "10.0.0.1"}, "listens on this machine only"),
        ({"HOST": "laptop.example"}, "listens on this machine only"),
        (
            {"K_SERVICE": "s", "AGUI_LOCAL_CLOUD": "localgcp", "HOST": "0.0.0.0", "AGUI_IDENTITY": "development"},
            "this machine",
        ),
        ({"K_SERVICE": "s", "AGUI_LOCAL_CLOUD": "true", "AGUI_IDENTITY": "development"}, "AGUI_LOCAL_CLOUD must be"),
        ({"AGUI_CHECK_ACCOUNTS": "a@b"}, "AGUI_CHECK_ACCOUNTS and AGUI_CHECK_AUDIENCE"),
        ({"AGUI_CHECK_AUDIENCE": "a"}, "AGUI_CHECK_ACCOUNTS and AGUI_CHECK_AUDIENCE"),
    ],
)
def test_development_does_not_start_where_strangers_connect(env, said):
    with pytest.raises(SettingsError, match=said):
        read_settings(DATABASE | env)


def test_development_listens_on_this_machine():
    assert read_settings(DATABASE).host == "127.0.0.1"
    assert read_settings(DATABASE | {"HOST": "::1"}).access.identity == "development"
    assert read_settings(LOGINS["oidc"] | {"K_SERVICE": "s"}).host == "0.0.0.0"
    local = {"K_SERVICE": "s", "AGUI_LOCAL_CLOUD": "localgcp", "AGUI_IDENTITY": "development"}
    assert read_access(local, "127.0.0.1").identity == "development"
