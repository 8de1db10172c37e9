"""Cloud SQL of a local cloud for tests of its connectors: instances by REST, the real Auth Proxy, raw TLS."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2.credentials import Credentials

from agui_dev.ports import free_port
from localgcp.server.server import Server

INSTANCE = {"databaseVersion": "POSTGRES_17", "settings": {"tier": "db-f1-micro"}}
PASSWORD = "s3cret"
ANYBODY = Credentials("anybody")
_SQL_PORT = 3307


class ApiRefusal(Exception):
    """An API call that ended in an error."""

    def __init__(self, code: int, body: dict[str, Any]) -> None:
        super().__init__(f"{code}: {body}")
        self.code, self.error = code, body["error"]


class SqlApi:
    """Cloud SQL's admin API of a running local cloud, below one of its prefixes."""

    def __init__(self, endpoint: str, prefix: str = "/sql/v1beta4") -> None:
        self.endpoint, self._base = endpoint, f"{endpoint}{prefix}/projects/demo"

    def call(self, path: str, body: Any = None, method: str | None = None) -> dict[str, Any]:
        """Raises ApiRefusal."""
        request = urllib.request.Request(
            self._base + path,
            method=method or ("GET" if body is None else "POST"),
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return dict(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                raise ApiRefusal(error.code, json.loads(error.read())) from None

    def done(self, path: str, body: Any = None, method: str | None = None) -> None:
        """A call that starts an operation, to its good end."""
        operation = self.call(path, {} if body is None and method is None else body, method)
        deadline = time.monotonic() + 120
        while operation["status"] != "DONE":
            assert time.monotonic() < deadline
            time.sleep(0.02)
            operation = self.call(f"/operations/{operation['name']}")
        assert "error" not in operation, operation["error"]

    def create(self, name: str, **settings: Any) -> None:
        """An instance with the user `app`."""
        self.done("/instances", {**INSTANCE, "name": name, "settings": {**INSTANCE["settings"], **settings}})  # type: ignore[dict-item]
        self.done(f"/instances/{name}/users", {"name": "app", "password": PASSWORD})

    def connect_settings(self, name: str = "main") -> dict[str, Any]:
        return self.call(f"/instances/{name}/connectSettings")

    def address(self, name: str = "main") -> str:
        return str(self.connect_settings(name)["ipAddresses"][0]["ipAddress"])


def certificates_asked(server: Server) -> int:
    """How many client certificates were issued so far."""
    return len(server.cloud.ledger.query(since=0, method="sqladmin.connect.generateEphemeralCert"))


class ClientKey:
    """A key pair, and TLS contexts with what an instance signs for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def public_pem(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def certificate(self, api: SqlApi, instance: str = "main", **body: Any) -> str:
        path = f"/instances/{instance}:generateEphemeralCert"
        return str(api.call(path, {"public_key": self.public_pem, **body})["ephemeralCert"]["cert"])

    def context(self, api: SqlApi, certificate: str | None, instance: str = "main") -> ssl.SSLContext:
        """A client that trusts `instance`'s CA and shows `certificate`, or none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=api.connect_settings(instance)["serverCaCert"]["cert"])
        if certificate is not None:
            path = self._folder / "client.pem"
            private = self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            path.write_bytes(private + certificate.encode())
            context.load_cert_chain(path)
        return context


def served_certificate(context: ssl.SSLContext, address: str) -> x509.Certificate:
    """What port 3307 shows of itself."""
    with (
        socket.create_connection((address, _SQL_PORT), timeout=60) as plain,
        context.wrap_socket(plain) as tls,
    ):
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")


def tls_answer(context: ssl.SSLContext, address: str) -> bytes:
    """What port 3307 says to PostgreSQL's SSLRequest within a TLS connection. Raises ssl.SSLError, OSError."""
    with (
        socket.create_connection((address, _SQL_PORT), timeout=60) as plain,
        context.wrap_socket(plain) as tls,
    ):
        tls.sendall(bytes.fromhex("0000000804d2162f"))
        return tls.recv(1)


def weak_public_pem() -> str:
    """A key that is too short to trust."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


@contextlib.contextmanager
def running_proxy(program: Path, endpoint: str, *options: str, machine: str = "") -> Iterator[None]:
    """The Auth Proxy with a local cloud's admin API, as anybody or as the identity of a `machine` (host:port of its
    metadata server), ready for new connections; ended by its process id."""
    with tempfile.TemporaryFile() as log:
        health = free_port()
        command = [str(program), f"--sqladmin-api-endpoint={endpoint}", "--health-check", f"--http-port={health}"]
        command += [*([] if machine else ["--token=anybody"]), *options]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CSQL_PROXY")}
        if machine:
            environment["GCE_METADATA_HOST"] = machine
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            _wait_until_started(child, health, log)
            yield
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _wait_until_started(child: subprocess.Popen[bytes], health: int, log: Any) -> None:
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{health}/startup", timeout=2):
            return
        if child.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise RuntimeError(f"the Auth Proxy did not start:\n{log.read().decode(errors='replace')}")
        time.sleep(0.05)
