"""What a web page that a developer visits sends to localgcp: nothing of it has an effect, and the answer names the
setting that would let it in.

Requests go out byte for byte as a browser sends them: a page cannot set Host, Origin or Sec-Fetch-*, and its simple
requests (text/plain, forms, no-cors GET, WebSocket handshakes) need no preflight.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import CloudRefused, LocalCloud, running_local_cloud
from hostile_pages import EVIL, IMAGE, NOBODY, RUN, UPGRADE, Attack, by_rebinding, from_pages, port_of, send

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def cloud() -> Iterator[LocalCloud]:
    with running_local_cloud("--lro-seconds", "0", "--catalogue", str(SMALL_IMAGES)) as running:
        running.call("/v1/projects/demo/instances", "POST", instance("main"))
        running.call("/v1/projects/demo/instances/main/connectSettings")  # from now on its port 3307 is served
        running.call(f"{RUN}/services?serviceId=web", "POST", {"template": {"containers": [{"image": IMAGE}]}})
        settle(running)
        yield running


def settle(cloud: LocalCloud) -> None:
    """Waits until no operation is open."""
    deadline = time.monotonic() + 60
    while cloud.admin("status")["openOperations"]:
        assert time.monotonic() < deadline, "an operation does not end"
        time.sleep(0.05)


def instance(name: str) -> dict[str, Any]:
    return {"name": name, "region": "us-central1", "databaseVersion": "POSTGRES_16", "settings": {"tier": "t"}}


def listeners(pid: int) -> set[tuple[str, int]]:
    """TCP addresses that a process listens on."""
    found = psutil.Process(pid).net_connections("tcp")
    return {(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN}


def changes(cloud: LocalCloud) -> list[tuple[str, str]]:
    return cloud.effects()


def test_every_port_of_localgcp_is_one_of_those_below(cloud: LocalCloud) -> None:
    """A new port fails here until the tests of this file attack it."""
    found = listeners(cloud.pid)
    assert {port_of(cloud.endpoint), port_of(cloud.edge)} <= found
    others = found - {port_of(cloud.endpoint), port_of(cloud.edge)}
    assert len(others) == 1
    assert {port for _, port in others} == {3307}
    assert all(address.startswith("127.") for address, _ in found)


@pytest.mark.parametrize("attack", [*from_pages(), *by_rebinding()], ids=lambda attack: attack.name)
def test_a_page_gets_nothing_from_the_apis(cloud: LocalCloud, attack: Attack) -> None:
    before, since = changes(cloud), cloud.last
    status, body = send(port_of(cloud.endpoint), attack)
    assert (status, attack.setting in body) == (403, True), (status, body)
    assert changes(cloud) == before
    assert cloud.ledger(since) == [], "a refused request reaches no method"


@pytest.mark.parametrize("attack", by_rebinding(), ids=lambda attack: attack.name)
def test_a_rebound_name_gets_nothing_from_the_edge(cloud: LocalCloud, attack: Attack) -> None:
    status, body = send(port_of(cloud.edge), attack)
    assert (status, "--allow-host" in body) == (403, True), (status, body)


@pytest.mark.parametrize(
    "attack",
    [a for a in from_pages() if a.name not in ("link", "unknown-fetch-site")],
    ids=lambda attack: attack.name,
)
def test_a_page_gets_nothing_from_a_private_service(cloud: LocalCloud, attack: Attack) -> None:
    """On Google Cloud IAM refuses it, because a page has no identity token."""
    status, body = send(port_of(cloud.edge), Attack(**{**vars_of(attack), "host": host_of(cloud)}))
    assert (status, "roles/run.invoker" in body) == (403, True), (status, body)


def test_a_link_opens_a_private_service(cloud: LocalCloud) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert send(port_of(cloud.edge), Attack("link", "GET", "/", link, host=host_of(cloud)))[0] == 200
    framed = {**link, "Sec-Fetch-Dest": "iframe"}
    assert send(port_of(cloud.edge), Attack("frame", "GET", "/", framed, host=host_of(cloud)))[0] == 403
    assert send(port_of(cloud.edge), Attack("form", "POST", "/", link, host=host_of(cloud)))[0] == 403


@pytest.mark.parametrize("way", ["allUsers", "invokerIamDisabled"])
def test_a_public_service_judges_pages_itself(cloud: LocalCloud, way: str) -> None:
    """As on Google Cloud: it gets the request with the headers of the browser, untouched."""
    name = f"public-{way.lower()}"
    body: dict[str, Any] = {"template": {"containers": [{"image": IMAGE}]}}
    if way == "invokerIamDisabled":
        body["invokerIamDisabled"] = True
    cloud.call(f"{RUN}/services?serviceId={name}", "POST", body)
    if way == "allUsers":
        policy = {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}
        cloud.call(f"{RUN}/services/{name}:setIamPolicy", "POST", {"policy": policy})
    settle(cloud)
    for attack in (a for a in from_pages() if a.method == "POST"):
        status, text = send(port_of(cloud.edge), Attack(**{**vars_of(attack), "host": host_of(cloud, name)}))
        assert status == 200, text
        seen = json.loads(text)["headers"]
        sent = {key.lower(): value for key, value in attack.headers.items()}
        assert sent.items() <= seen.items()
    websocket = Attack("websocket", "GET", "/ws", {"Origin": EVIL, **UPGRADE}, host=host_of(cloud, name))
    assert send(port_of(cloud.edge), websocket)[0] == 101


def test_port_3307_takes_nobody_without_a_client_certificate(cloud: LocalCloud) -> None:
    (address,) = listeners(cloud.pid) - {port_of(cloud.endpoint), port_of(cloud.edge)}
    for attack in (*from_pages(), *by_rebinding()):
        assert send(address, attack) == (0, ""), "no HTTP"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(address, timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="main") as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),  # TLS 1.3 tells the client at its first read
    ):
        connection.recv(1000)


def test_postgresql_speaks_no_http(cloud: LocalCloud) -> None:
    children = psutil.Process(cloud.pid).children(recursive=True)
    (port,) = {address for child in children if "postgres" in child.name() for address in listeners(child.pid)}
    assert port[0] == "127.0.0.1"
    for attack in (*from_pages(), *by_rebinding()):
        assert send(port, attack) == (0, "")


@pytest.mark.parametrize("way", ["none", "wrong", "of-another-scheme"])
@pytest.mark.parametrize(("method", "path"), [("POST", "reset"), ("POST", "faults"), ("DELETE", "faults")])
def test_an_admin_call_that_changes_something_needs_the_token(
    cloud: LocalCloud, method: str, path: str, way: str
) -> None:
    token = (cloud.state_dir / "admin-token").read_text().strip()
    headers = {"none": {}, "wrong": {"Authorization": "Bearer x"}, "of-another-scheme": {"Authorization": token}}[way]
    before = changes(cloud)
    attack = Attack(path, method, f"/_localgcp/{path}", headers, json.dumps({"kill_pid": NOBODY}))
    status, body = send(port_of(cloud.endpoint), attack)
    assert (status, "admin-token" in body, token in body) == (401, True, False), (status, body)
    assert changes(cloud) == before
    assert cloud.admin("faults") == {"faults": []}


def test_with_the_token_it_is_done(cloud: LocalCloud) -> None:
    assert cloud.fault(method="NoSuchMethod", code="UNAVAILABLE") > 0
    cloud.clear_faults()
    assert cloud.admin("faults") == {"faults": []}


def test_the_command_line_finds_the_token(cloud: LocalCloud, tmp_path: Path) -> None:
    def localgcp(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LOCALGCP_ENDPOINT": cloud.endpoint, **more}
        command = [sys.executable, "-m", "localgcp", *words]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    assert localgcp("faults", "clear").returncode == 0
    wrong = tmp_path / "token"
    wrong.write_text("x")
    refused = localgcp("faults", "clear", LOCALGCP_TOKEN_FILE=str(wrong))
    assert (refused.returncode, "admin-token" in refused.stderr) == (1, True)


def test_services_of_two_projects_never_meet(cloud: LocalCloud) -> None:
    """Same names of service, revision and job; each project is served by its own process."""
    wanted: dict[str, Any] = {}
    for project in ("tenant-a", "tenant-b"):
        parent = f"/v2/projects/{project}/locations/us-central1"
        env = [{"name": "OWNER", "value": project}]
        template = {"containers": [{"image": IMAGE, "env": env}], "revision": "same-00001-abc"}
        cloud.call(f"{parent}/services?serviceId=same", "POST", {"template": template})
        wanted[project] = cloud.call(f"{parent}/services/same")["uri"]
    settle(cloud)
    for project, uri in wanted.items():
        status, body = send(port_of(cloud.edge), Attack("env", "GET", "/env", {}, host=uri.removeprefix("http://")))
        assert (status, json.loads(body).get("OWNER")) == (200, project)
    cloud.call("/v2/projects/tenant-a/locations/us-central1/services/same", "DELETE")
    settle(cloud)
    uri = wanted["tenant-b"].removeprefix("http://")
    assert send(port_of(cloud.edge), Attack("env", "GET", "/env", {}, host=uri))[0] == 200
    with pytest.raises(CloudRefused, match="404"):
        cloud.call("/v2/projects/tenant-a/locations/us-central1/services/same")


def vars_of(attack: Attack) -> dict[str, Any]:
    return {name: getattr(attack, name) for name in attack.__dataclass_fields__}


def host_of(cloud: LocalCloud, service: str = "web") -> str:
    return str(cloud.call(f"{RUN}/services/{service}")["uri"]).removeprefix("http://")
