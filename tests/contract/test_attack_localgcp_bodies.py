"""Bodies that no client sends: each is the sender's error, never one of localgcp."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from agui_dev.testbed.local_cloud import LocalCloud

pytestmark = pytest.mark.contract

LOCALGCP_OPTIONS = ("--lro-seconds", "0")
DEEP = 100_000
BODIES = {
    "deep": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep-list": b"[" * DEEP,
    "no-utf-8": b'{"name":"\xff\xfe"}',
    "half-a-surrogate-pair": b'{"name":"\\ud800"}',
    "nul": b'{"name":"a\\u0000b"}',
    "nan": b'{"name":NaN}',
    "many-digits": b'{"name":' + b"9" * 5000 + b"}",
    "no-object": b'"x"',
    "charset": b"{}",
}
PATHS = (
    "/v2/projects/demo/locations/us-central1/jobs?jobId=a",
    "/v1/projects/demo/secrets?secretId=s",
    "/storage/v1/b?project=demo",
    "/compute/v1/projects/demo/global/urlMaps",
    "/v1/projects/demo/instances",
    "/v1/projects/demo/instances/x/users",
    "/upload/storage/v1/b/bucket/o?uploadType=multipart",
    "/upload/storage/v1/b/bucket/o?uploadType=resumable&name=x",
    "/v3/projects/demo/alertPolicies",
    "/_localgcp/faults",
)


def answer(cloud: LocalCloud, path: str, name: str) -> int:
    body, kind = BODIES[name], "application/json; charset=klingon" if name == "charset" else "application/json"
    if "multipart" in path:
        media = b"\r\n--x\r\nContent-Type: text/plain\r\n\r\nhi\r\n--x--"
        body, kind = b"--x\r\nContent-Type: application/json\r\n\r\n" + body + media, "multipart/related; boundary=x"
    token = (cloud.state_dir / "admin-token").read_text().strip()
    headers = {"Content-Type": kind, "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(cloud.endpoint + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("path", PATHS)
def test_no_body_is_an_error_of_localgcp(local_cloud: LocalCloud, path: str) -> None:
    if not local_cloud.items("/storage/v1/b?project=demo", "items"):
        local_cloud.call("/storage/v1/b?project=demo", "POST", {"name": "bucket"})
    codes = {name: answer(local_cloud, path, name) for name in BODIES}
    assert {name: code for name, code in codes.items() if code >= 500} == {}
    assert {codes[name] for name in ("deep", "deep-list", "no-utf-8", "half-a-surrogate-pair")} == {400}
    assert local_cloud.admin("status")["pid"] == local_cloud.pid
