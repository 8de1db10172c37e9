"""Requests byte for byte as a browser sends them for a hostile page, and what comes back."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass

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


def send(address: tuple[str, int], attack: Attack) -> tuple[int, str]:
    """Status and body of the answer; (0, "") when the connection just ends."""
    host = f"{address[0]}:{address[1]}" if attack.host is None else attack.host
    lines = [f"{attack.method} {attack.path} HTTP/1.1", *([f"Host: {host}"] if host else [])]
    lines += [f"{name}: {value}" for name, value in attack.headers.items()]
    body = attack.body.encode()
    lines += [f"Content-Length: {len(body)}"] if body or attack.method == "POST" else []
    with socket.create_connection(address, timeout=60) as connection:
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
    return (int(head.split(b" ")[1]), body.decode(errors="replace")) if head.startswith(b"HTTP/") else (0, "")


def port_of(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)
