"""What a new local service needs: its package, and one line in the registry of services."""

from __future__ import annotations

import importlib
import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from localgcp import services
from localgcp.kit.service import Service
from localgcp_thread import localgcp_thread

ROOT = Path(__file__).parents[3]
PACKAGE = '''
"""A key-value service."""

from aiohttp import web

from localgcp.kit.call import Call
from localgcp.kit.cloud import Cloud
from localgcp.kit.errors import from_http
from localgcp.kit.paging import Limits, rest_page
from localgcp.kit.rest import RestRoute, json_body, json_response
from localgcp.kit.service import Part, Service, Slot


class Values:
    def __init__(self, cloud: Cloud) -> None:
        self.table = cloud.store.json("toy.values")
        self.opened = False

    async def open(self) -> None:
        self.opened = True


VALUES: Slot[Values] = Slot("toy.values")


def routes(cloud: Cloud) -> list[RestRoute]:
    values = cloud.part(VALUES)

    async def insert(request: web.Request, call: Call) -> web.Response:
        body = await json_body(request)
        if values.table.get(body["name"]) is not None:
            raise from_http(409, "The value exists already.", "alreadyExists")
        values.table.put(body["name"], body)
        call.effect("create", body["name"])
        return json_response(body)

    async def listed(request: web.Request, call: Call) -> web.Response:
        found, name = values.table.values(), lambda value: (value["name"],)
        items, token = rest_page(request, call.method, found, name, Limits(2, 2))
        return json_response({"items": items, "opened": values.opened, **token})

    return [
        RestRoute("POST", "/toy/v1/values", "toy.values.insert", insert, True),
        RestRoute("GET", "/toy/v1/values", "toy.values.list", listed),
    ]


SERVICE = Service("toy", hosts=("toy.googleapis.com",), rest=routes, parts=(Part(VALUES, Values),))
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The service in a file of its own, which is a package of localgcp.services for the length of a test."""
    package = tmp_path / "packages" / "toy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PACKAGE)
    monkeypatch.setattr(services, "__path__", [*services.__path__, str(package.parent)])
    yield importlib.import_module("localgcp.services.toy").SERVICE
    del sys.modules["localgcp.services.toy"]


def ask(url: str, body: object = None) -> dict[str, object]:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=5) as reply:
        return dict(json.load(reply))


def test_a_package_and_a_line_in_the_registry_serve_requests(tmp_path: Path, toy: Service) -> None:
    registry = (*(service for service in services.SERVICES if service.name == "secretmanager"), toy)
    with localgcp_thread(tmp_path / "state", registry) as server:
        url = server.cloud.settings.endpoint + "/toy/v1/values"
        for name in ("a", "b", "c"):
            assert ask(url, {"name": name}) == {"name": name}
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(url, {"name": "a"})
        assert (caught.value.code, json.load(caught.value)["error"]["errors"][0]["reason"]) == (409, "alreadyExists")
        first = ask(url)
        assert (first["items"], first["opened"]) == ([{"name": "a"}, {"name": "b"}], True)
        assert ask(f"{url}?pageToken={first['nextPageToken']}")["items"] == [{"name": "c"}]
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(f"{url}?pageToken=2")
        status = ask(server.cloud.settings.endpoint + "/_localgcp/status")
        assert status["services"] == {"secretmanager": ["secretmanager.googleapis.com"], "toy": ["toy.googleapis.com"]}
        ledger = server.cloud.ledger.query(method="toy.*")
        assert [(entry["kind"], entry["method"]) for entry in ledger[:2]] == [
            ("effect", "toy.values.insert"),
            ("call", "toy.values.insert"),
        ]


def test_no_module_but_the_registry_names_a_service_from_outside() -> None:
    """So a new service needs no edit elsewhere: kit, edge and server know services through the registry only."""
    packages = ROOT / "localgcp" / "localgcp"
    names = {path.name for path in (packages / "services").iterdir() if (path / "__init__.py").exists()}
    assert len(names) >= 9
    naming = re.compile(rf"localgcp\.services\.({'|'.join(names)})\b|from localgcp\.services import (?!SERVICES)")
    for path in packages.rglob("*.py"):
        own = path.relative_to(packages).parts
        if own[0] != "services" or path == packages / "services" / "__init__.py":
            found = {match[0] for match in naming.finditer(path.read_text())} - {"from localgcp.services import "}
            assert not found, path


def test_the_readme_says_so() -> None:
    text = " ".join((ROOT / "localgcp" / "README.md").read_text().split())
    assert "create its package in `services/` with a `SERVICE = Service(...)`" in text
    assert "add one line to `SERVICES` in `services/__init__.py`" in text
