"""Secret Manager through Google's own clients, over gRPC and over REST."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import secretmanager_v1 as sm
from google.cloud.secretmanager_v1.services.secret_manager_service import transports
from google.iam.v1 import policy_pb2

from localgcp.kit.errors import ApiError
from localgcp.kit.interfaces import SECRETS
from localgcp.server.server import Server
from localgcp.services import secretmanager
from localgcp_thread import localgcp_thread

pytestmark = pytest.mark.contract
SERVICES = (secretmanager.SERVICE,)
PARENT = "projects/demo"
AUTOMATIC: dict[str, Any] = {"replication": {"automatic": {}}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with localgcp_thread(tmp_path, SERVICES) as running:
        yield running


@pytest.fixture(params=["grpc", "rest"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[sm.SecretManagerServiceClient]:
    address = server.cloud.settings.endpoint.removeprefix("http://")
    if request.param == "grpc":
        with grpc.insecure_channel(address) as channel:
            transport = transports.SecretManagerServiceGrpcTransport(channel=channel)
            yield sm.SecretManagerServiceClient(transport=transport)
        return
    rest = transports.SecretManagerServiceRestTransport(
        host=f"http://{address}", url_scheme="http", credentials=AnonymousCredentials()
    )
    yield sm.SecretManagerServiceClient(transport=rest)
    rest.close()


@pytest.fixture
def secret(client: sm.SecretManagerServiceClient) -> sm.Secret:
    wanted = {**AUTOMATIC, "labels": {"app": "shop"}}
    return client.create_secret(parent=PARENT, secret_id="db-password", secret=wanted)


def test_the_life_of_a_version(server: Server, client: sm.SecretManagerServiceClient, secret: sm.Secret) -> None:
    assert secret.name == f"projects/{server.cloud.settings.project_number}/secrets/db-password"
    first = client.add_secret_version(parent=f"{PARENT}/secrets/db-password", payload={"data": b"one"})
    payload = {"data": b"two", "data_crc32c": google_crc32c.value(b"two")}
    second = client.add_secret_version(parent=secret.name, payload=payload)
    assert (second.name, second.client_specified_payload_checksum) == (f"{secret.name}/versions/2", True)
    seen = client.access_secret_version(name=f"{PARENT}/secrets/db-password/versions/latest")
    assert (seen.name, seen.payload.data) == (second.name, b"two")
    assert seen.payload.data_crc32c == google_crc32c.value(b"two")
    client.disable_secret_version(name=second.name)
    with pytest.raises(exceptions.BadRequest, match="is in DISABLED state"):
        client.access_secret_version(name=f"{secret.name}/versions/latest")
    client.enable_secret_version(name=second.name)
    assert client.access_secret_version(name=second.name).payload.data == b"two"
    assert server.cloud.part(SECRETS).payload("demo", "db-password", "1") == b"one"
    destroyed = client.destroy_secret_version(name=first.name)
    assert destroyed.state == sm.SecretVersion.State.DESTROYED
    with pytest.raises(exceptions.BadRequest, match="DESTROYED"):
        client.enable_secret_version(name=first.name)
    with pytest.raises(ApiError, match="DESTROYED"):
        server.cloud.part(SECRETS).payload("demo", "db-password", "1")
    states = [(v.name[-1], v.state.name) for v in client.list_secret_versions(parent=secret.name)]
    assert states == [("2", "ENABLED"), ("1", "DESTROYED")]
    listed = client.list_secret_versions(request={"parent": secret.name, "filter": "state:ENABLED"})
    assert [v.name for v in listed] == [second.name]


def test_a_secret_is_updated_under_its_etag(client: sm.SecretManagerServiceClient, secret: sm.Secret) -> None:
    client.add_secret_version(parent=secret.name, payload={"data": b"x"})
    wanted = sm.Secret(name=secret.name, labels={"app": "other"}, version_aliases={"stable": 1}, etag=secret.etag)
    changed = client.update_secret(secret=wanted, update_mask={"paths": ["labels", "version_aliases"]})
    assert (changed.labels, changed.etag != secret.etag) == ({"app": "other"}, True)
    assert client.access_secret_version(name=f"{secret.name}/versions/stable").payload.data == b"x"
    with pytest.raises(exceptions.BadRequest, match="etag"):
        client.update_secret(secret=wanted, update_mask={"paths": ["labels"]})
    with pytest.raises(exceptions.BadRequest, match="etag"):
        client.delete_secret(request={"name": secret.name, "etag": secret.etag})
    client.delete_secret(request={"name": secret.name, "etag": changed.etag})
    with pytest.raises(exceptions.NotFound):
        client.get_secret(name=secret.name)


def test_lists_are_filtered_and_paged(client: sm.SecretManagerServiceClient, secret: sm.Secret) -> None:
    for number in range(3):
        client.create_secret(parent=PARENT, secret_id=f"s{number}", secret=AUTOMATIC)
    pages = list(client.list_secrets(request={"parent": PARENT, "page_size": 3}).pages)
    assert [len(page.secrets) for page in pages] == [3, 1]
    assert pages[0].total_size == 4
    found = client.list_secrets(request={"parent": PARENT, "filter": "labels.app=shop"})
    assert [s.name for s in found] == [secret.name]


def test_what_google_refuses_is_refused(client: sm.SecretManagerServiceClient, secret: sm.Secret) -> None:
    with pytest.raises(exceptions.Conflict):
        client.create_secret(parent=PARENT, secret_id="db-password", secret=AUTOMATIC)
    for bad in ({"secret_id": "a b", "secret": AUTOMATIC}, {"secret_id": "a", "secret": {}}):
        with pytest.raises(exceptions.BadRequest):
            client.create_secret(parent=PARENT, **bad)
    for payload in ({"data": b"x", "data_crc32c": 1}, {"data": b""}, {"data": b"x" * 65_537}):
        with pytest.raises(exceptions.BadRequest):
            client.add_secret_version(parent=secret.name, payload=payload)
    with pytest.raises(exceptions.NotFound):
        client.access_secret_version(name=f"{secret.name}/versions/latest")
    with pytest.raises(exceptions.NotFound):
        client.add_secret_version(parent=f"{PARENT}/secrets/no", payload={"data": b"x"})
    with pytest.raises(exceptions.BadRequest, match="ttl"):
        client.create_secret(parent=PARENT, secret_id="t", secret={**AUTOMATIC, "ttl": {"seconds": 60}})


def test_iam_is_kept(client: sm.SecretManagerServiceClient, secret: sm.Secret) -> None:
    policy = policy_pb2.Policy()
    policy.bindings.add(role="roles/secretmanager.secretAccessor", members=["serviceAccount:a@demo"])
    client.set_iam_policy({"resource": secret.name, "policy": policy})
    seen = client.get_iam_policy({"resource": f"{PARENT}/secrets/db-password"})
    assert [b.role for b in seen.bindings] == ["roles/secretmanager.secretAccessor"]


def test_payloads_are_in_private_files_only(
    tmp_path: Path, server: Server, client: sm.SecretManagerServiceClient, secret: sm.Secret
) -> None:
    client.add_secret_version(parent=secret.name, payload={"data": b"hunter2-hunter2"})
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert len(holders) == 1
    assert stat.S_IMODE(holders[0].stat().st_mode) == 0o600
    effects = [(e["effect"], e["resource"]) for e in server.cloud.ledger.query(kind="effect")]
    assert effects == [("create", secret.name), ("create", f"{secret.name}/versions/1")]


def test_secrets_survive_a_restart(tmp_path: Path) -> None:
    for attempt in range(2):
        with localgcp_thread(tmp_path, SERVICES) as server:
            with grpc.insecure_channel(server.cloud.settings.endpoint.removeprefix("http://")) as channel:
                client = sm.SecretManagerServiceClient(
                    transport=transports.SecretManagerServiceGrpcTransport(channel=channel)
                )
                if attempt == 0:
                    client.create_secret(parent=PARENT, secret_id="s", secret=AUTOMATIC)
                    client.add_secret_version(parent=f"{PARENT}/secrets/s", payload={"data": b"kept"})
            assert server.cloud.part(SECRETS).payload("demo", "s") == b"kept"
