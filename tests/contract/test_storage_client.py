"""Cloud Storage through Google's own client, pointed at localgcp by STORAGE_EMULATOR_HOST."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from localgcp.kit.interfaces import BUCKETS
from localgcp.server.server import Server
from localgcp.services.storage import SERVICE
from localgcp.services.storage.store import StoredBuckets
from localgcp_thread import localgcp_thread

pytestmark = pytest.mark.contract
SERVICES = (SERVICE,)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with localgcp_thread(tmp_path, SERVICES) as running:
        yield running


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[storage.Client]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.cloud.settings.endpoint)
    with storage.Client(project="demo", credentials=AnonymousCredentials()) as made:
        yield made
        made._http.close()


@pytest.fixture
def bucket(client: storage.Client) -> storage.Bucket:
    return client.create_bucket("assets-demo", location="europe-west1")


def test_a_buckets_configuration_is_kept(client: storage.Client) -> None:
    bucket = client.bucket("site-demo")
    bucket.cors = [{"origin": ["https://a.example"], "method": ["GET"], "maxAgeSeconds": 60}]
    bucket.versioning_enabled = True
    bucket.add_lifecycle_delete_rule(age=30)
    bucket.configure_website("index.html", "404.html")
    bucket.labels = {"a": "1", "b": "2"}
    bucket.create(location="EU")
    bucket.labels = {"a": "1"}
    bucket.patch()
    seen = client.get_bucket("site-demo")
    assert seen.cors[0]["maxAgeSeconds"] == 60
    assert next(iter(seen.lifecycle_rules))["condition"] == {"age": 30}
    assert (seen.versioning_enabled, seen.location, seen.location_type) == (True, "EU", "multi-region")
    assert seen.labels == {"a": "1"}
    assert seen.metageneration == 2
    assert [b.name for b in client.list_buckets()] == ["site-demo"]
    with pytest.raises(exceptions.Conflict):
        client.create_bucket("site-demo")
    with pytest.raises(exceptions.BadRequest, match="Invalid bucket name"):
        client.create_bucket("Site")


def test_iam_is_read_modified_and_written(bucket: storage.Bucket) -> None:
    policy = bucket.get_iam_policy()
    stale = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    bucket.set_iam_policy(policy)
    assert "roles/storage.objectViewer" in {b["role"] for b in bucket.get_iam_policy().bindings}
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.set_iam_policy(stale)
    assert bucket.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]


@pytest.mark.parametrize("size", [0, 5, 300_000, 9 * 1024 * 1024], ids=["empty", "small", "multipart", "resumable"])
def test_what_is_uploaded_is_downloaded(bucket: storage.Bucket, size: int) -> None:
    data = hashlib.sha256(b"x").digest() * (size // 32) + b"z" * (size % 32)
    blob = bucket.blob("assets/deep name+ü%.js")
    blob.cache_control = "public, max-age=31536000, immutable"
    blob.metadata = {"release": "r1"}
    blob.upload_from_file(io.BytesIO(data), size=size, content_type="text/javascript", checksum="crc32c")
    seen = bucket.get_blob(blob.name)
    assert seen is not None
    assert (seen.size, seen.content_type, seen.metadata) == (size, "text/javascript", {"release": "r1"})
    assert seen.cache_control == blob.cache_control
    assert seen.download_as_bytes(checksum="md5") == data
    if size > 10:
        assert seen.download_as_bytes(start=3, end=7, checksum=None) == data[3:8]


def test_a_chunked_resumable_upload(bucket: storage.Bucket) -> None:
    data = bytes(range(256)) * 4096  # 1 MiB
    blob = bucket.blob("big", chunk_size=256 * 1024)
    blob.upload_from_file(io.BytesIO(data))
    assert bucket.blob("big").download_as_bytes() == data


def test_a_session_survives_a_restart(tmp_path: Path) -> None:
    def send(method: str, url: str, body: bytes, **headers: str) -> tuple[int, dict[str, str]]:
        request = urllib.request.Request(url, body, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, dict(reply.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers)

    json_type = {"Content_Type": "application/json"}
    chunk = b"a" * 262_144
    with localgcp_thread(tmp_path, SERVICES) as first:
        base = first.cloud.settings.endpoint
        send("POST", f"{base}/storage/v1/b?project=demo", b'{"name": "bbb"}', **json_type)
        opened = f"{base}/upload/storage/v1/b/bbb/o?uploadType=resumable"
        _, headers = send("POST", opened, b'{"name": "o"}', **json_type)
        session = headers["Location"].removeprefix(base)
        assert send("PUT", base + session, chunk, Content_Range="bytes 0-262143/262150")[0] == 308
    with localgcp_thread(tmp_path, SERVICES) as second:
        base = second.cloud.settings.endpoint
        status, headers = send("PUT", base + session, b"", Content_Range="bytes */262150")
        assert (status, headers["Range"]) == (308, "bytes=0-262143")
        assert send("PUT", base + session, b"bbbbbb", Content_Range="bytes 262144-262149/262150")[0] == 200
        stored = second.cloud.part(BUCKETS).read("bbb", "o")
        assert stored is not None
        assert stored.path.read_bytes() == chunk + b"bbbbbb"


def test_preconditions_protect_writes(bucket: storage.Bucket) -> None:
    blob = bucket.blob("pointer")
    blob.upload_from_string("1", if_generation_match=0)
    first = blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("pointer").upload_from_string("2", if_generation_match=0)
    blob.upload_from_string("2", if_generation_match=first)
    assert blob.generation > first
    assert blob.metageneration == 1
    blob.cache_control = "no-cache"
    with pytest.raises(exceptions.PreconditionFailed):
        blob.patch(if_metageneration_match=9)
    blob.patch(if_metageneration_match=1)
    assert blob.metageneration == 2
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=first)
    with pytest.raises(exceptions.NotFound):
        bucket.blob("pointer", generation=first).reload()
    blob.delete(if_generation_match=blob.generation)
    assert bucket.get_blob("pointer") is None
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("pointer").upload_from_string("3", if_generation_match=first)


def test_a_wrong_checksum_is_rejected_and_nothing_is_kept(bucket: storage.Bucket) -> None:
    blob = bucket.blob("x")
    blob.md5_hash = "1B2M2Y8AsgTpgAmY7PhCfg=="
    with pytest.raises(exceptions.BadRequest, match="MD5"):
        blob.upload_from_string("not empty", checksum=None)
    assert bucket.get_blob("x") is None


def test_listing_by_prefix_delimiter_and_page(client: storage.Client, bucket: storage.Bucket) -> None:
    for name in ("a/1", "a/2", "a/b/3", "c", "d"):
        bucket.blob(name).upload_from_string(name)
    assert [b.name for b in client.list_blobs(bucket, page_size=2)] == ["a/1", "a/2", "a/b/3", "c", "d"]
    listed = client.list_blobs(bucket, prefix="a/", delimiter="/")
    assert [b.name for b in listed] == ["a/1", "a/2"]
    assert listed.prefixes == {"a/b/"}
    assert [b.name for b in client.list_blobs(bucket, start_offset="a/2", end_offset="d")] == ["a/2", "a/b/3", "c"]


def test_copy_rewrite_and_compose(client: storage.Client, bucket: storage.Bucket) -> None:
    source = bucket.blob("one")
    source.metadata = {"k": "v"}
    source.upload_from_string("one,", content_type="text/plain")
    other = client.create_bucket("other-demo")
    assert bucket.copy_blob(source, other, "copied").metadata == {"k": "v"}
    rewritten = other.blob("rewritten")
    assert rewritten.rewrite(source) == (None, 4, 4)
    with pytest.raises(exceptions.PreconditionFailed):
        other.blob("rewritten").rewrite(source, if_source_generation_match=1)
    bucket.blob("two").upload_from_string("two")
    made = bucket.blob("made")
    made.content_type = "text/plain"
    made.compose([source, bucket.blob("two")])
    assert made.download_as_bytes() == b"one,two"
    assert (made.component_count, made.md5_hash) == (2, None)


def test_gzip_is_transcoded_for_who_does_not_take_it(server: Server, bucket: storage.Bucket) -> None:
    blob = bucket.blob("page")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(b"<html>"), content_type="text/html")
    url = f"{server.cloud.settings.endpoint}/download/storage/v1/b/assets-demo/o/page?alt=media"
    with urllib.request.urlopen(url, timeout=60) as reply:
        assert reply.read() == b"<html>"
    assert bucket.blob("page").download_as_bytes(raw_download=True) == gzip.compress(b"<html>")


def test_a_bucket_with_objects_is_not_deleted(bucket: storage.Bucket) -> None:
    bucket.blob("x").upload_from_string("x")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        bucket.delete()
    bucket.delete(force=True)
    assert not bucket.exists()


def test_unknown_fields_and_absent_things_are_refused(server: Server, bucket: storage.Bucket) -> None:
    with pytest.raises(exceptions.NotFound):
        bucket.blob("no").download_as_bytes()
    request = urllib.request.Request(
        f"{server.cloud.settings.endpoint}/storage/v1/b/assets-demo",
        json.dumps({"webside": {}}).encode(),
        {"Content-Type": "application/json"},
        method="PATCH",
    )
    with pytest.raises(urllib.error.HTTPError, match="400") as caught:
        urllib.request.urlopen(request, timeout=60)
    with caught.value as reply:
        error = json.load(reply)["error"]
    assert 'Unknown name "webside"' in error["message"]
    assert error["errors"][0]["reason"] == "invalid"


def test_every_change_is_in_the_ledger_once(server: Server, bucket: storage.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1")
    blob.delete()
    effects = [(e["effect"], e["resource"]) for e in server.cloud.ledger.query(kind="effect")]
    assert effects == [("create", "b/assets-demo"), ("write", "b/assets-demo/o/x"), ("delete", "b/assets-demo/o/x")]


def test_objects_survive_a_restart_and_orphans_do_not(tmp_path: Path, server: Server, bucket: storage.Bucket) -> None:
    bucket.blob("kept").upload_from_string("kept")
    orphan = tmp_path / "storage/objects/123"
    orphan.write_bytes(b"left by a crash")
    again = StoredBuckets(server.cloud)
    again.open()
    stored = again.read("assets-demo", "kept")
    assert stored is not None
    assert stored.path.read_bytes() == b"kept"
    assert not orphan.exists()
