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
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import CloudRefused, LocalCloud, running_local_cloud

pytestmark = pytest.mark.contract

RUN = "/v2/projects/demo/locations/us-central1"
IMAGE = "us-central1-docker.pkg.dev/demo/agui/web:v1"
EVIL = "https://evil.example"
CROSS = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Content-Type": "text/plain"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
}
NOBODY = 2**22 - 1  # a pid that no process has: an attack that succeeds must not end the tests
REBINDING = (
    "evil.example",
    "evil.example:8085",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.example.",
    "evil-localhost",
    "metadata.google.internal",
    "[2001:db8::1]",
    "192.0.2.7",
    "0.0.0.0",
)


@dataclass(frozen=True)
class Attack:
    """One request. `setting` is the option that the refusal has to name."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: str = ""
    host: str | None = None  # None: the port's own address
    setting: str = "--allow-origin"


def job(command: str) -> str:
    container = {"image": IMAGE, "command": ["/bin/sh"], "args": ["-c", command]}
    return json.dumps({"template": {"template": {"containers": [container]}}})


def from_pages() -> list[Attack]:
    """Requests of pages of other origins: another site, another port of this machine, a sandboxed frame."""
    create = f"{RUN}/jobs?jobId=evil"
    same_site = {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site", "Content-Type": "text/plain"}
    no_metadata = {"Origin": EVIL, "Content-Type": "text/plain"}  # a browser without Sec-Fetch-*
    silent = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    preflight = {"Origin": EVIL, "Access-Control-Request-Method": "DELETE"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    kill = json.dumps({"method": "*", "kill_pid": NOBODY})
    return [
        Attack("simple-post", "POST", create, CROSS, job("id")),
        Attack("simple-post-run", "POST", f"{RUN}/jobs/evil:run", CROSS),
        Attack("post-without-fetch-metadata", "POST", create, no_metadata, job("id")),
        Attack("post-of-a-sandboxed-frame", "POST", create, {**CROSS, "Origin": "null"}, job("id")),
        Attack("form-post", "POST", create, {**CROSS, **form}, job("id")),
        Attack("other-port-of-this-machine", "POST", create, same_site, job("id")),
        Attack("no-cors-get-of-a-secret", "GET", "/v1/projects/demo/secrets/db/versions/latest:access", silent),
        Attack("no-cors-get-of-the-ledger", "GET", "/_localgcp/ledger", silent),
        Attack("link", "GET", "/_localgcp/status", {**silent, "Sec-Fetch-Mode": "navigate"}),
        Attack("unknown-fetch-site", "GET", "/_localgcp/status", {"Sec-Fetch-Site": "surprise"}),
        Attack("preflight", "OPTIONS", create, preflight),
        Attack("cors-delete", "DELETE", f"{RUN}/jobs/evil", {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}),
        Attack("upload", "POST", "/upload/storage/v1/b/b/o?uploadType=media&name=x", CROSS, "<script>"),
        Attack("reset", "POST", "/_localgcp/reset", CROSS),
        Attack("kill", "POST", "/_localgcp/faults", CROSS, kill),
        Attack("metadata-token", "GET", "/computeMetadata/v1/instance/service-accounts/default/token", silent),
        Attack("websocket", "GET", "/", {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", **UPGRADE}),
        Attack("unknown-path", "POST", "/nothing/here", CROSS),
    ]


def by_rebinding() -> list[Attack]:
    """A name of the attacker that now leads to this machine: for the browser the page and localgcp are one origin."""
    token = "/computeMetadata/v1/instance/service-accounts/default/token"
    return [
        Attack(f"rebinding-{host}", "GET", token, {"Metadata-Flavor": "Google"}, "", host, "--allow-host")
        for host in REBINDING
    ] + [
        Attack("rebinding-post", "POST", f"{RUN}/jobs?jobId=evil", {}, job("id"), "evil.example", "--allow-host"),
        Attack("rebinding-websocket", "GET", "/", UPGRADE, "", "evil.example", "--allow-host"),
    ]


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


def send(address: tuple[str, int], attack: Attack) -> tuple[int, str]:
    """Status and body of the answer; (0, "") when the connection just ends."""
    host = f"{address[0]}:{address[1]}" if attack.host is None else attack.host
    lines = [f"{attack.method} {attack.path} HTTP/1.1", *([f"Host: {host}"] if host else [])]
    lines += [f"{name}: {value}" for name, value in attack.headers.items()]
    body = attack.body.encode()
    lines += [f"Content-Length: {len(body)}"] if body or attack.method == "POST" else []
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return answer_of(connection)


def answer_of(connection: socket.socket) -> tuple[int, str]:
    raw = b""
    try:
        while b"\r\n\r\n" not in raw and (chunk := connection.recv(65536)):
            raw += chunk
        head, _, body = raw.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0)
        while len(body) < length and (chunk := connection.recv(65536)):
            body += chunk
    except ConnectionError:
        return 0, ""
    return (int(head.split(b" ")[1]), body.decode()) if head.startswith(b"HTTP/") else (0, "")


def listeners(pid: int) -> set[tuple[str, int]]:
    """TCP addresses that a process listens on."""
    found = psutil.Process(pid).net_connections("tcp")
    return {(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN}


def port_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


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
        socket.create_connection(address, timeout=10) as plain,
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


def test_the_state_is_its_owners(cloud: LocalCloud) -> None:
    assert stat.S_IMODE(cloud.state_dir.stat().st_mode) == 0o700
    for name in ("admin-token", "ledger.jsonl", "state.sqlite3"):
        assert stat.S_IMODE((cloud.state_dir / name).stat().st_mode) == 0o600, name
    assert len((cloud.state_dir / "admin-token").read_text().strip()) >= 32


def test_a_state_folder_of_an_earlier_version_is_closed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    (state / "state.sqlite3").touch()
    (state / "admin-token").write_text("guessed")
    (state / "admin-token").chmod(0o644)
    cloud = LocalCloud(state)
    try:
        cloud.start()
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        token = state / "admin-token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert token.read_text().strip() != "guessed", "a token that others could read or write is replaced"
        kept = token.read_text()
        cloud.restart()
        assert token.read_text() == kept
    finally:
        cloud.stop()


def test_a_folder_with_other_files_is_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "notes.txt").write_text("not localgcp's")
    with serve("--state-dir", str(shared), cwd=tmp_path) as process:
        _, said = process.communicate(timeout=30)
    assert (process.returncode, "--state-dir" in said) == (1, True)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def serve(*words: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "localgcp", "serve", "--port", "0", "--edge-port", "0", *words]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "build-machine.example"])
def test_a_host_that_others_reach_needs_a_flag(tmp_path: Path, host: str) -> None:
    with serve("--host", host, cwd=tmp_path) as process:
        try:
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 2
    assert "--expose" in said
    assert not (tmp_path / ".localgcp").exists()


def test_an_exposed_localgcp_says_so(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = serve("--host", "0.0.0.0", "--expose", "--ready-file", str(ready), cwd=tmp_path)
    try:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        address = ("127.0.0.1", port_of(line["endpoint"])[1])
        assert line["exposed"] is True
        status, body = send(address, Attack("status", "GET", "/_localgcp/status", {}))
        assert (status, json.loads(body)["exposed"]) == (200, True)
        for attack in (*from_pages(), *(a for a in by_rebinding() if a.host and a.host[0] not in "01[")):
            assert send(address, attack)[0] == 403, attack.name
    finally:
        process.terminate()
        _, said = process.communicate(timeout=60)
    banner = [text for text in said.splitlines() if text.startswith("!!")]
    assert len(banner) >= 5
    assert any("run commands on this machine" in text for text in banner)


def test_allowed_names_and_origins_are_let_in(tmp_path: Path) -> None:
    cloud = LocalCloud(
        tmp_path / "state", "--allow-host", "host.docker.internal", "--allow-origin", "http://127.0.0.1:3000"
    )
    try:
        cloud.start()
        address = port_of(cloud.endpoint)
        named = Attack("named", "GET", "/_localgcp/status", {}, host=f"host.docker.internal:{address[1]}")
        assert send(address, named)[0] == 200
        assert send(address, Attack("page", "GET", "/_localgcp/status", {"Origin": "http://127.0.0.1:3000"}))[0] == 200
        for attack in (a for a in from_pages() if a.name != "other-port-of-this-machine"):
            assert send(address, attack)[0] == 403, attack.name
    finally:
        cloud.stop()


def test_the_command_line_finds_the_token(cloud: LocalCloud, tmp_path: Path) -> None:
    def localgcp(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LOCALGCP_ENDPOINT": cloud.endpoint, **more}
        command = [sys.executable, "-m", "localgcp", *words]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

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
